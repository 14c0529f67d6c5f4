"""Builder of the Cityscapes dataset from its official folder layout."""

import os
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

from sflow_jax.data import frame_files, images, labels, listing
from sflow_jax.data.frame_reading import Frame
from sflow_jax.errors import InputError

Layout = Mapping[str, tuple[str, str]]
"""For each key, the folder and what its files' names end with; images may have other formats."""

_SINGLE_FRAMES: Layout = {
    "image": ("leftImg8bit", "_leftImg8bit.png"),
    "label": ("gtFine", "_gtFine_labelIds.png"),
    "instance": ("gtFine", "_gtFine_instanceIds.png"),
}
_SEQUENCES: Layout = {
    "image": ("leftImg8bit_sequence", "_leftImg8bit.png"),
    "label": ("label_sequence", "_labelIds.png"),
}
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


class Cityscapes(frame_files.FrameFilesBuilder):
    """Cityscapes with the labels of `labels.CITYSCAPES`.

    Single frames are `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` with
    `gtFine/SPLIT/CITY/*_gtFine_labelIds.png` and, in all splits or in none,
    `*_gtFine_instanceIds.png`.

    Pairs come from the video snippets, `leftImg8bit_sequence/SPLIT/CITY/*_leftImg8bit.png`, of
    which one frame in thirty is annotated; their label maps are those that a segmentation network
    predicted, `label_sequence/SPLIT/CITY/*_labelIds.png`. Some cities number several snippets
    through, so a gap in the numbers is where the next snippet begins. Each snippet is a video
    sequence, named after its first frame: 'aachen_000000_000000/aachen_000000_000012'.

    A split that has no folder of images or none of label maps is left out with a note; one with
    both must be complete. The public test split, whose label maps are empty, is left out too.
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
            source: the folder with `leftImg8bit` and `gtFine`, or with `leftImg8bit_sequence` and
                `label_sequence`.
            height: of the examples, in pixels; 0 (with width 0) keeps 2048x1024.
            width: of the examples, in pixels.
            frames: consecutive frames of each example; pairs have the flow between them.
            data_dir: folder of prepared datasets; None is tensorflow-datasets' default.

        Raises:
            InputError: the folder is no such dataset, or a file lacks its partner.
        """
        frame_files.check_example_size(height, width, frames)
        splits = _list_splits(pathlib.Path(source), _SINGLE_FRAMES if frames == 1 else _SEQUENCES)
        super().__init__(
            splits={split: _list_examples(listed, frames) for split, listed in splits.items()},
            class_table=labels.CITYSCAPES,
            source=pathlib.Path(source),
            height=height,
            width=width,
            data_dir=data_dir,
        )


def _list_splits(source: pathlib.Path, layout: Layout) -> dict[str, list[Frame]]:
    frame_files.check_directory(source)
    layout = _without_absent_instances(source, layout)
    splits = {}
    for folder, split in _SPLITS.items():
        if _has_both(source, folder, layout):
            frames = _list_frames(source, folder, layout)
            if split == "test" and not _is_annotated(frames[0]):
                _skip(source, folder, "its label maps are empty, as published")
            else:
                splits[split] = frames
    if not splits:
        (images_folder, image_ending), (labels_folder, label_ending) = (
            layout[key] for key in ("image", "label")
        )
        raise InputError(
            f"{source}: found no split with images and label maps, expected "
            f"{images_folder}/train/CITY/*{image_ending} and "
            f"{labels_folder}/train/CITY/*{label_ending}"
        )
    return splits


def _without_absent_instances(source: pathlib.Path, layout: Layout) -> Layout:
    """Without instance maps, if there is none: S-Flow GAN trains without them."""
    folder, ending = layout.get("instance", ("", ""))
    if folder and next((source / folder).glob(f"*/*/[!.]*{ending}"), None) is None:
        return {key: place for key, place in layout.items() if key != "instance"}
    return layout


def _has_both(source: pathlib.Path, folder: str, layout: Layout) -> bool:
    present: list[str] = []
    absent: list[str] = []
    for kind in (layout[key][0] for key in ("image", "label")):
        (present if (source / kind / folder).is_dir() else absent).append(f"{kind}/{folder}")
    if present and absent:
        _skip(source, folder, f"found {present[0]} but no {absent[0]}")
    return not absent


def _skip(source: pathlib.Path, folder: str, reason: str) -> None:
    print(f"note: {source}: leaving out the split {folder!r}: {reason}", file=sys.stderr)


def _list_frames(source: pathlib.Path, folder: str, layout: Layout) -> list[Frame]:
    places = {key: (source / kind / folder, ending) for key, (kind, ending) in layout.items()}
    paths = {key: _find(key, *place) for key, place in places.items()}
    root, ending = places["image"]
    for city in sorted(path for path in root.iterdir() if path.is_dir()):
        if not any(name.startswith(f"{city.name}/") for name in paths["image"]):
            raise InputError(f"{city}: found no images, expected files *{ending}")
    if not paths["image"]:
        raise InputError(f"{root}: found no images, expected CITY/*{ending}")
    return frame_files.match(paths, lambda key, name: places[key][0] / f"{name}{places[key][1]}")


def _find(key: str, root: pathlib.Path, ending: str) -> dict[str, pathlib.Path]:
    """The files CITY/*ending, by 'CITY/' and what is before the ending."""
    stem, _, _ = ending.rpartition(".")
    suffixes = listing.COLOR_SUFFIXES if key in images.COLOR_KEYS else (".png",)
    found: dict[str, pathlib.Path] = {}
    for path in sorted(root.glob(f"*/[!.]*{stem}.*")):
        if path.suffix.lower() in suffixes:
            name = f"{path.parent.name}/{path.stem.removesuffix(stem)}"
            if name in found:
                raise InputError(
                    f"{path}: found {found[name].name} beside it, expected one of both"
                )
            found[name] = path
    return found


def _list_examples(frames: Sequence[Frame], num_frames: int) -> list[tuple[Frame, ...]]:
    """Single frames, or pairs or clips of consecutive ones, from frames sorted by name."""
    snippets = [frames] if num_frames == 1 else _list_snippets(frames, num_frames)
    return [clip for snippet in snippets for clip in frame_files.windows(snippet, num_frames)]


def _list_snippets(frames: Sequence[Frame], num_frames: int) -> Iterator[list[Frame]]:
    snippets: list[list[Frame]] = []
    following = None
    for frame in frames:
        sequence, number = _sequence_and_number(frame)
        if (sequence, number) != following:
            snippets.append([])
        snippets[-1].append(frame)
        following = (sequence, number + 1)
    for snippet in snippets:
        if len(snippet) < num_frames:
            raise InputError(
                f"{snippet[0].files['image']}: found {len(snippet)} consecutive frames from "
                f"here on, expected at least {num_frames}, as config.data.frames says"
            )
        names = [frame.name.rpartition("/")[2] for frame in snippet]
        yield [
            Frame(f"{names[0]}/{name}", frame.files)
            for name, frame in zip(names, snippet, strict=True)
        ]


def _sequence_and_number(frame: Frame) -> tuple[str, int]:
    match = re.fullmatch(r"(.*_)(\d+)", frame.name)
    if not match:
        raise InputError(
            f"{frame.files['image']}: found no frame number, expected CITY_SEQUENCE_NUMBER"
            f"{_SEQUENCES['image'][1]}"
        )
    return match[1], int(match[2])


def _is_annotated(frame: Frame) -> bool:
    label_map = images.read_label_map(frame.files["label"], labels.CITYSCAPES)
    return bool((labels.CITYSCAPES.eval_lookup[label_map] != labels.VOID).any())
