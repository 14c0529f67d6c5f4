"""Builder of a user's own dataset from folders of PNG files.

    SOURCE/classes.json
    SOURCE/SPLIT/SEQUENCE/image/NAME.png     the real frame
    SOURCE/SPLIT/SEQUENCE/label/NAME.png     its label map, with ids of classes.json
    SOURCE/SPLIT/SEQUENCE/cg/NAME.png        optional: the simulator's image
    SOURCE/SPLIT/SEQUENCE/instance/NAME.png  optional: instances

SPLIT is `train`, `validation` or `test`; SEQUENCE and NAME are free, but a frame has the same NAME
in each folder. `cg` and `instance` are in every sequence or in none. For pairs of frames a NAME
ends with the number of the frame, and numbers have no gaps within a sequence.
"""

import os
import pathlib

from sflow_jax.data import frame_files, labels
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
        data_dir: str | os.PathLike | None = None,
    ):
        """Lists the files.

        Args:
            source: the folder with `classes.json` and the splits.
            height: of the examples, in pixels; 0 (with width 0) keeps the files' own size.
            width: of the examples, in pixels.
            frames: consecutive frames of each example; pairs have the flow between them.
            data_dir: folder of prepared datasets; None is tensorflow-datasets' default.

        Raises:
            InputError: the folder is no such dataset, or a file lacks its partner.
        """
        frame_files.check_example_size(height, width, frames)
        source = pathlib.Path(source)
        frame_files.check_directory(source)
        class_table = labels.ClassTable.from_json(source / CLASSES_FILE)
        super().__init__(
            splits={
                split: _list_examples(sequences, frames)
                for split, sequences in _list_sequences(source).items()
            },
            class_table=class_table,
            source=source,
            height=height,
            width=width,
            data_dir=data_dir,
        )


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
            raise InputError(f"{absent[0] / key}: not found, expected a folder with PNG files")
        if absent and present:
            raise InputError(
                f"{absent[0] / key}: not found, expected it because {present[0]} has {key!r}: "
                "it is in every sequence or in none"
            )


def _list_examples(
    sequences: list[pathlib.Path], num_frames: int
) -> list[tuple[frame_files.Frame, ...]]:
    examples: list[tuple[frame_files.Frame, ...]] = []
    for sequence in sequences:
        frames = frame_files.consecutive_frames(_list_frames(sequence), num_frames, sequence)
        examples += frame_files.windows(frames, num_frames)
    return examples


def _list_frames(sequence: pathlib.Path) -> list[frame_files.Frame]:
    paths = {
        key: {
            f"{sequence.name}/{path.stem}": path
            for path in sorted((sequence / key).iterdir())
            if path.suffix.lower() == ".png"
        }
        for key in KEYS
        if (sequence / key).is_dir()
    }
    if not any(paths.values()):
        raise InputError(f"{sequence / 'image'}: found no PNG files, expected the frames")
    return frame_files.match(
        paths, lambda key, name: sequence / key / f"{name.rpartition('/')[2]}.png"
    )
