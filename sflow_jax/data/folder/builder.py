"""Builder of a user's own dataset from folders of images.

    SOURCE/classes.json
    SOURCE/SPLIT/SEQUENCE/image/NAME.jpg     the real frame: JPEG, PNG or another common format
    SOURCE/SPLIT/SEQUENCE/label/NAME.png     its label map, with ids of classes.json
    SOURCE/SPLIT/SEQUENCE/cg/NAME.jpg        optional: the simulator's image
    SOURCE/SPLIT/SEQUENCE/instance/NAME.png  optional: instances

SPLIT is `train`, `validation` or `test`; SEQUENCE and NAME are free, but a frame has the same NAME
in each folder, apart from an ending that all names of the folder have. `image/SUB/NAME.jpg` goes
with `label/SUB/NAME.png`; the frames of SUB are a sequence of their own. `cg` and `instance` are in
every sequence or in none. For pairs of frames a NAME ends with the number of the frame, and numbers
have no gaps within a sequence; `frame_step` allows other numbers.
"""

import os
import pathlib
import sys

from sflow_jax.data import frame_files, labels, listing
from sflow_jax.data.labels import CLASSES_FILE
from sflow_jax.errors import InputError

KEYS = ("image", "label", "cg", "instance")
SPLITS = ("train", "validation", "test")
_REQUIRED = KEYS[:2]


class Folder(frame_files.FrameFilesBuilder):
    """A user's own frames, in the layout that this module describes."""

    def __init__(
        self,
        *,
        source: str | os.PathLike,
        height: int,
        width: int,
        frames: int = 1,
        frame_step: int = 1,
        data_dir: str | os.PathLike | None = None,
    ):
        """Lists the files.

        Args:
            source: the folder with `classes.json` and the splits.
            height: of the examples, in pixels; 0 (with width 0) keeps the files' own size.
            width: of the examples, in pixels.
            frames: consecutive frames of each example; pairs have the flow between them.
            frame_step: from the number of a frame to the next one's; 0 takes their order alone.
            data_dir: folder of prepared datasets; None is tensorflow-datasets' default.

        Raises:
            InputError: the folder is no such dataset, or a file lacks its partner.
        """
        frame_files.check_example_size(height, width, frames)
        source = pathlib.Path(source)
        frame_files.check_directory(source)
        class_table = labels.ClassTable.from_json(source / CLASSES_FILE)
        _warn_of_channels(class_table, source / CLASSES_FILE)
        super().__init__(
            splits=_list_splits(source, frames, frame_step),
            class_table=class_table,
            source=source,
            height=height,
            width=width,
            data_dir=data_dir,
        )


def _warn_of_channels(class_table: labels.ClassTable, path: pathlib.Path) -> None:
    """Says so if a far id that is not scored, such as 255, costs channels."""
    last = class_table.num_classes - 1
    if class_table.num_classes > 2 * len(class_table.classes) and any(
        c.id == last and c.eval_id is None for c in class_table.classes
    ):
        print(
            f"note: {path}: a one-hot label map has {class_table.num_classes} channels for "
            f'{len(class_table.classes)} classes; with "void_ids": [{last}] in place of the class '
            f"{last}, ids without a meaning share one channel",
            file=sys.stderr,
        )


def _list_splits(
    source: pathlib.Path, num_frames: int, frame_step: int
) -> dict[str, list[tuple[frame_files.Frame, ...]]]:
    splits: dict[str, list[tuple[frame_files.Frame, ...]]] = {}
    left_out = listing.LeftOut()
    try:
        for split, sequences in _list_sequences(source).items():
            splits[split] = []
            for sequence in sequences:
                for frames in _list_frames(sequence, left_out):
                    ordered = frame_files.consecutive_frames(
                        frames, num_frames, sequence, frame_step
                    )
                    splits[split] += frame_files.windows(ordered, num_frames)
    finally:  # what is not read may be why there is an error
        left_out.report(source)
    return splits


def _list_sequences(source: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    for folder in _folders(source):
        if folder.name not in SPLITS and any(folder.glob("*/image")):
            raise InputError(f"{folder}: found a split of this name, expected {', '.join(SPLITS)}")
    sequences = {split: _folders(source / split) for split in SPLITS if (source / split).is_dir()}
    if not sequences:
        raise InputError(f"{source}: found no split, expected a folder {', '.join(SPLITS)}")
    for split, folders in sequences.items():
        if not folders:
            raise InputError(f"{source / split}: found no sequence, expected a folder for each")
    _check_same_keys([folder for folders in sequences.values() for folder in folders])
    return sequences


def _folders(parent: pathlib.Path) -> list[pathlib.Path]:
    return sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))


def _check_same_keys(sequences: list[pathlib.Path]) -> None:
    for key in KEYS:
        present = [sequence for sequence in sequences if (sequence / key).is_dir()]
        absent = [sequence for sequence in sequences if sequence not in present]
        if absent and key in _REQUIRED:
            raise InputError(f"{absent[0] / key}: not found, expected a folder with images")
        if absent and present:
            raise InputError(
                f"{absent[0] / key}: not found, expected it because {present[0]} has {key!r}: "
                "it is in every sequence or in none"
            )


def _list_frames(
    sequence: pathlib.Path, left_out: listing.LeftOut
) -> list[list[frame_files.Frame]]:
    """The frames of a sequence, those of each of its subfolders by themselves."""
    name = listing.readable(sequence.name)
    paths = {
        key: {
            f"{name}/{frame}": path
            for frame, path in listing.list_pictures(sequence / key, key, left_out).items()
        }
        for key in KEYS
        if (sequence / key).is_dir()
    }
    if not any(paths.values()):
        raise InputError(f"{sequence / 'image'}: found no images, expected the frames")
    frames = frame_files.match(
        paths, lambda key, frame: sequence / key / f"{frame.removeprefix(f'{name}/')}.png"
    )
    folders: dict[str, list[frame_files.Frame]] = {}
    for frame in frames:
        folders.setdefault(os.path.dirname(frame.name), []).append(frame)
    return list(folders.values())
