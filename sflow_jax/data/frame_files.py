"""Datasets of image files: from a list of files to checked and resized examples."""

import decimal
import itertools
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import tqdm

from sflow_jax.data import builder, example, images, labels, listing
from sflow_jax.data.frame_reading import Frame, ReadExample, ReadFrame, read_frame
from sflow_jax.errors import InputError
from sflow_jax.files import require_folder

_ANY_ORDER = " (frame_step=0 takes frames in the order of their names)"


class FrameFilesBuilder(builder.ExampleBuilder):
    """Prepares examples from image files.

    Images are resized to the training size, even if that changes the aspect ratio, and never
    cropped: colors are averaged, label and instance maps take the nearest pixel.
    """

    def __init__(
        self,
        *,
        splits: Mapping[str, Sequence[tuple[Frame, ...]]],
        class_table: labels.ClassTable,
        source: pathlib.Path,
        height: int,
        width: int,
        read: ReadFrame = read_frame,
        data_dir: str | os.PathLike | None = None,
    ):
        """Lists what to prepare; reads no more than the size of the first image.

        Args:
            splits: the frames of each example, as many for all, per split. All frames have the same
                keys, and no split is empty.
            class_table: the meaning of the label maps.
            source: the folder of all files.
            height: of the examples, in pixels; 0 (with width 0) keeps the files' own size.
            width: of the examples, in pixels.
            read: how a frame is read from its files.
            data_dir: folder of prepared datasets; None is tensorflow-datasets' default.
        """
        self._splits = splits
        self._read = read
        first = next(iter(splits.values()))[0]
        self._size_reference = None if height else first[0].files["image"]
        if self._size_reference:
            header = images.check_header(self._size_reference, "image")
            width, height = header.size
        schema = example.Schema(
            height,
            width,
            frames=len(first),
            instance=not first[0].files.keys().isdisjoint(("instance", "annotation")),
            cg="cg" in first[0].files,
            flow=len(first) == 2,
        )
        super().__init__(
            schema=schema,
            class_table=class_table,
            contents=_describe(self._frames(), source, class_table),
            source=str(source),
            data_dir=data_dir,
        )

    @property
    def split_sizes(self) -> dict[str, int]:
        """The number of examples of each split."""
        return {split: len(examples) for split, examples in self._splits.items()}

    @property
    def source_size(self) -> tuple[int, int] | None:
        """Height and width of the first image, pixels; None where it has a fault."""
        try:
            header = images.check_header(self._frames()[0].files["image"], "image")
        except InputError:
            return None
        return header.height, header.width

    def faults(self) -> Iterator[InputError]:
        """Of the headers of all files: kind, size, and files that are truncated."""
        description = f"Checking {self.name}"
        for frame in tqdm.tqdm(self._frames(), desc=description, unit=" frames", leave=False):
            try:
                _check_frame(frame, self._size_reference)
            except InputError as error:
                yield error

    def recipe(self, split: str) -> tuple[ReadExample, Sequence[tuple[Frame, ...]]]:
        """Reads the examples of a split in the order of their files."""
        size = (self.schema.height, self.schema.width)
        return ReadExample(self._read, self.class_table, size), self._splits[split]

    def _frames(self) -> list[Frame]:
        examples = [frames for split in self._splits.values() for frames in split]
        unique = {frame.files["image"]: frame for frames in examples for frame in frames}
        return list(unique.values())


def check_directory(source: pathlib.Path) -> None:
    """Checks that the source of a dataset is a folder.

    Raises:
        InputError: it is not.
    """
    require_folder(source, "a folder (config.data.source)")


def match(
    paths: Mapping[str, Mapping[str, pathlib.Path]],
    expected_path: Callable[[str, str], pathlib.Path],
) -> list[Frame]:
    """Groups files by the frame that they belong to.

    What the names of a key end with, such as '_leftImg8bit', may differ between keys.

    Args:
        paths: the files of each key, by the name of their frame.
        expected_path: where the file of a key and a name should be.

    Returns:
        The frames, sorted by name.

    Raises:
        InputError: a frame lacks the file of a key.
    """
    paths, endings = listing.without_endings(paths)
    names = {name: key for key in reversed(list(paths)) for name in paths[key]}
    for key, name in itertools.product(paths, sorted(names)):
        if name not in paths[key]:
            partner = paths[names[name]][name]
            raise InputError(
                f"{expected_path(key, name + endings[key])}: not found, "
                f"expected it as the {key} of {partner}"
            )
    return [Frame(name, {key: paths[key][name] for key in paths}) for name in sorted(names)]


def consecutive(paths: Mapping[str, pathlib.Path], step: int = 1) -> list[str]:
    """Orders the frames of a sequence by the number at the end of their names.

    Args:
        paths: a file of each frame, for messages, by the frame's name, such as 'clip/frame_0007'.
        step: from a frame's number to the next one's; 0 takes any, and names without a number too,
            in the order of the numbers in them, such as time stamps.

    Returns:
        The names: 'frame_9' comes before 'frame_10'.

    Raises:
        InputError: a name has no number at its end, or a number is not the next one.
    """
    if step == 0:
        return sorted(paths, key=_by_numbers)
    numbered = []
    for name, path in paths.items():
        match = re.fullmatch(r"(.*?)(\d+)", name)
        if not match:
            raise InputError(
                f"{path}: found no frame number, expected one at the end of the name{_ANY_ORDER}"
            )
        numbered.append((int(match[2]), match[1], name))
    numbered.sort()
    for (before, prefix, previous), (number, own_prefix, name) in itertools.pairwise(numbered):
        if own_prefix != prefix or number != before + step:
            raise InputError(
                f"{paths[name]}: found this frame after {paths[previous].name}, expected number "
                f"{before + step}: the frames of a sequence must be consecutive"
                f"{_advice([number for number, *_ in numbered], step)}"
            )
    return [name for _, _, name in numbered]


def _by_numbers(name: str) -> list[tuple[str, decimal.Decimal]]:
    """A key that sorts names by their texts and numbers in turn: 'a9' before 'a10.5'."""
    parts = re.findall(r"(\D*)(\d+(?:\.\d+)?|$)", name)
    return [(text, decimal.Decimal(number or 0)) for text, number in parts]


def _advice(numbers: Sequence[int], step: int) -> str:
    """What to do if the numbers are not those of another step by mistake."""
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    if len(steps) == 1 and steps != {step} and len(numbers) > 2:
        return f" (numbered in steps: frame_step={steps.pop()} says so)"
    return _ANY_ORDER


def consecutive_frames(
    frames: Sequence[Frame], num_frames: int, sequence: pathlib.Path, step: int = 1
) -> list[Frame]:
    """Orders the frames of a sequence that is to give examples; single ones keep their order.

    Args:
        frames: in any order.
        num_frames: of each example.
        sequence: their folder, for messages.
        step: see `consecutive`.

    Raises:
        InputError: there are fewer frames, or they are not consecutive.
    """
    if num_frames == 1:
        return list(frames)
    by_name = {frame.name: frame for frame in frames}
    order = consecutive({name: frame.files["image"] for name, frame in by_name.items()}, step)
    if len(order) < num_frames:
        raise InputError(
            f"{sequence}: found {listing.counted(len(order), 'frame')}, expected at least "
            f"{num_frames}, as config.data.frames says"
        )
    return [by_name[name] for name in order]


def windows(frames: Sequence[Frame], num_frames: int) -> list[tuple[Frame, ...]]:
    """The examples that consecutive frames give: all single frames, all pairs, or clips.

    Clips begin half their length after each other, and the last ends with the last frame, so that
    each frame is in one.

    Args:
        frames: in their order; fewer than `num_frames` give none.
        num_frames: of each example.
    """
    last = len(frames) - num_frames
    if last < 0:
        return []
    starts = sorted({*range(0, last, max(1, num_frames // 2)), last})
    return [tuple(frames[start : start + num_frames]) for start in starts]


def check_example_size(height: int, width: int, frames: int) -> None:
    """Checks the size that a config asks for.

    Raises:
        InputError: a negative size, only one of both 0, or no frames.
    """
    if min(height, width) < 0 or bool(height) != bool(width):
        raise InputError(
            f"config.data.height and width: found {height} and {width}, expected two positive "
            "numbers, or 0 and 0 for the size of the files"
        )
    if frames < 1:
        raise InputError(f"config.data.frames: found {frames}, expected at least 1")


def _check_frame(frame: Frame, size_reference: pathlib.Path | None) -> None:
    """Checks the headers of a frame, all of one size: that of the reference if there is one."""
    reference = size_reference or frame.files["image"]
    expected = images.check_header(reference, "image")
    for key, path in frame.files.items():
        found = images.check_header(path, key)
        images.require_size(path, found.size, reference, expected.size)


def _describe(frames: Iterable[Frame], source: pathlib.Path, class_table: labels.ClassTable) -> str:
    """The class table, and a line for every file with its name, size and modification time."""
    lines = [class_table.to_json()]
    for path in sorted(path for frame in frames for path in frame.files.values()):
        status = images.file_status(path)
        lines.append(f"{path.relative_to(source)} {status.st_size} {status.st_mtime_ns}\n")
    return "".join(lines)
