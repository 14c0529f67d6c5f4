"""Builder of the Cityscapes dataset from its official folder layout."""

import os
import pathlib
import sys

from sflow_jax.data import frame_files, images, labels
from sflow_jax.errors import InputError

_IMAGES, _ANNOTATIONS = "leftImg8bit", "gtFine"
_IMAGE_ENDING = "_leftImg8bit.png"
_LABEL_ENDING = "_gtFine_labelIds.png"
_INSTANCE_ENDING = "_gtFine_instanceIds.png"
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


class Cityscapes(frame_files.FrameFilesBuilder, skip_registration=True):
    """Cityscapes with the labels of `labels.CITYSCAPES` and instances.

    Reads `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` with `gtFine/SPLIT/CITY/*_gtFine_labelIds.png`
    and `*_gtFine_instanceIds.png`. A split that has no folder of images or none of annotations is
    left out with a note; one with both must be complete. The public test split, whose label maps
    are empty, is left out too.
    """

    def __init__(
        self,
        *,
        source: str | os.PathLike,
        height: int,
        width: int,
        frames: int = 1,
        data_dir: str | os.PathLike | None = None,
    ):
        """Lists the files.

        Args:
            source: the folder with `leftImg8bit` and `gtFine`.
            height: of the examples, in pixels; 0 (with width 0) keeps 2048x1024.
            width: of the examples, in pixels.
            frames: 1; the labelled frames are no pairs.
            data_dir: where prepared datasets live; None is tensorflow-datasets' default.

        Raises:
            InputError: the folder is no such dataset, or a file lacks its partner.
        """
        frame_files.check_size(height, width, frames)
        if frames != 1:
            raise InputError(
                f"config.data.frames: found {frames}, expected 1: cityscapes has only single "
                "labelled frames"
            )
        super().__init__(
            splits=_list_splits(pathlib.Path(source)),
            class_table=labels.CITYSCAPES,
            source=pathlib.Path(source),
            height=height,
            width=width,
            data_dir=data_dir,
        )


def _list_splits(source: pathlib.Path) -> dict[str, list[tuple[frame_files.Frame, ...]]]:
    frame_files.check_directory(source)
    splits = {}
    for folder, split in _SPLITS.items():
        if _has_pairs(source, folder):
            frames = _list_frames(source, folder)
            if split == "test" and not _is_annotated(frames[0]):
                _skip(source, folder, "its label maps are empty, as published")
            else:
                splits[split] = [(frame,) for frame in frames]
    if not splits:
        raise InputError(
            f"{source}: found no split with images and label maps, expected "
            f"{_IMAGES}/train/CITY/*{_IMAGE_ENDING} and {_ANNOTATIONS}/train/CITY/*{_LABEL_ENDING}"
        )
    return splits


def _has_pairs(source: pathlib.Path, folder: str) -> bool:
    present, absent = [], []
    for kind in (_IMAGES, _ANNOTATIONS):
        (present if (source / kind / folder).is_dir() else absent).append(f"{kind}/{folder}")
    if present and absent:
        _skip(source, folder, f"found {present[0]} but no {absent[0]}")
    return not absent


def _skip(source: pathlib.Path, folder: str, reason: str) -> None:
    print(f"note: {source}: leaving out the split {folder!r}: {reason}", file=sys.stderr)


def _list_frames(source: pathlib.Path, folder: str) -> list[frame_files.Frame]:
    root, annotations = source / _IMAGES / folder, source / _ANNOTATIONS / folder
    places = {
        "image": (root, _IMAGE_ENDING),
        "label": (annotations, _LABEL_ENDING),
        "instance": (annotations, _INSTANCE_ENDING),
    }
    paths = {key: _find(*place) for key, place in places.items()}
    for city in sorted(path for path in root.iterdir() if path.is_dir()):
        if not any(name.startswith(f"{city.name}/") for name in paths["image"]):
            raise InputError(f"{city}: found no images, expected files *{_IMAGE_ENDING}")
    if not paths["image"]:
        raise InputError(f"{root}: found no images, expected CITY/*{_IMAGE_ENDING}")
    return frame_files.match(paths, lambda key, name: places[key][0] / f"{name}{places[key][1]}")


def _find(root: pathlib.Path, ending: str) -> dict[str, pathlib.Path]:
    """The files CITY/*ending, by 'CITY/' and what is before the ending."""
    return {
        f"{path.parent.name}/{path.name.removesuffix(ending)}": path
        for path in sorted(root.glob(f"*/*{ending}"))
    }


def _is_annotated(frame: frame_files.Frame) -> bool:
    label_map = images.read_label_map(frame.files["label"], labels.CITYSCAPES)
    return bool((labels.CITYSCAPES.eval_lookup[label_map] != labels.VOID).any())
