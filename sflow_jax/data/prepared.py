"""Prepared datasets on disk: opening, reading and exporting them."""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterable

import tqdm

from sflow_jax import manifest
from sflow_jax.data import builder, example, folder, images, labels, opening
from sflow_jax.data.folder.builder import SPLITS
from sflow_jax.errors import InputError, reading_from, writing_to
from sflow_jax.files import not_found, require_new_folder, whole_folder, write_whole

INFO_FILE = "dataset_info.json"
"""Written last, before the folder gets its final name: a folder with it is complete."""


class ExampleSource:
    """Random access to the examples of a split: `len(source)` and `source[index]`.

    Any number of threads may read. A copy that is pickled to another process reopens the files.
    """

    def __init__(self, directory: pathlib.Path, split: str, schema: example.Schema):
        self._arguments = (directory, split, schema)
        with builder.quiet():
            self._records = opening.open_builder(directory, schema).as_data_source(split)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict:
        """The arrays of `example.Schema`, and `name`.

        Raises:
            InputError: the example is damaged.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"found index {index}, expected 0 to {len(self) - 1}")
        directory, split, schema = self._arguments
        # The files have a checksum of every record, so that damage does not pass for an example.
        with reading_from(f"{directory}: example {index} of {split!r}", builder.WHOLE):
            return example.decode_arrays(self._records[index], schema)

    def __reduce__(self):
        return type(self), self._arguments


@dataclasses.dataclass(frozen=True)
class PreparedDataset:
    """A dataset that is ready to be read.

    Attributes:
        directory: its folder.
        class_table: the meaning of its label maps.
        schema: what its examples hold.
        num_examples: the size of each of its splits: 'train', 'validation', 'test' or some of them.
        fingerprint: of the training examples: others have another; '' of a dataset that was
            prepared by an earlier version.
    """

    directory: pathlib.Path
    class_table: labels.ClassTable
    schema: example.Schema
    num_examples: dict[str, int]
    fingerprint: str = ""

    def source(self, split: str) -> ExampleSource:
        """The examples of a split.

        Raises:
            InputError: the dataset has no such split.
        """
        if split not in self.num_examples:
            found = ", ".join(self.num_examples)
            raise InputError(f"{self.directory}: found the splits {found}, expected {split!r}")
        return ExampleSource(self.directory, split, self.schema)

    def require_examples(self, split: str) -> None:
        """Checks that a split holds examples.

        Raises:
            InputError: it is absent or empty.
        """
        if not self.num_examples.get(split):
            raise InputError(f"{self.directory}: split {split!r} is empty, expected examples")

    def require_keys(self, keys: Iterable[str], expected: str) -> None:
        """Checks that examples have arrays.

        Args:
            keys: their names.
            expected: what the dataset should have, for the message.

        Raises:
            InputError: names those that are absent.
        """
        if absent := sorted(set(keys) - set(self.schema.keys)):
            raise InputError(
                f"{self.directory}: found no {' and no '.join(absent)} in its examples, "
                f"expected {expected}"
            )


def open_dataset(directory: os.PathLike, verify: bool = False) -> PreparedDataset:
    """Opens a prepared dataset; nothing that its files name is imported.

    Args:
        directory: its folder.
        verify: whether all examples are compared with their checksums; otherwise the sizes of the
            files are, and damage in an example is found when that is read.

    Raises:
        InputError: the folder or a file of it is missing, or damaged.
    """
    directory = pathlib.Path(directory)  # tensorflow-datasets' own paths cannot list folders below
    if not directory.is_dir():
        raise not_found(directory, "the folder of a prepared dataset")
    try:
        manifest.check_contents(directory, suffix="" if verify else ".json")
        metadata = json.loads((directory / "metadata.json").read_text(encoding="utf-8"))
        schema = example.Schema(**metadata["schema"])
        with builder.quiet():
            splits = opening.open_builder(directory, schema).info.splits
        opening.check_features(directory, schema)
        prepared = PreparedDataset(
            directory=directory,
            class_table=labels.ClassTable.from_json(metadata["class_table"]),
            schema=schema,
            num_examples={name: split.num_examples for name, split in splits.items()},
            fingerprint=manifest.fingerprint(directory, part="-train."),
        )
        if unknown := sorted(splits.keys() - set(SPLITS)):
            raise ValueError(f"found a split {unknown[0]!r}")
        for split in splits.values():
            opening.check_shards(directory, split)
    except Exception as error:  # whatever the libraries raise for a damaged file
        raise builder.damaged(directory, error) from error
    return prepared


def export(prepared: PreparedDataset, directory: pathlib.Path) -> None:
    """Writes all splits as PNG files in the layout of the `folder` dataset, with `classes.json`.

    That layout has no depth and no flow, so these are left out. Later frames of an example get the
    numbers after the first's, so the pairs or clips of a sequence give that sequence again.

    Raises:
        InputError: the directory is not empty or cannot be written.
    """
    require_new_folder(directory)
    with writing_to(directory), whole_folder(directory) as part:
        for split in prepared.num_examples:
            description = f"Exporting {split}"
            for arrays in tqdm.tqdm(prepared.source(split), desc=description, unit=" examples"):
                _export_example(arrays, part / split)
        write_whole(part / labels.CLASSES_FILE, prepared.class_table.to_json())


def _export_example(arrays: dict, split_directory: pathlib.Path) -> None:
    sequence, _, stem = arrays["name"].rpartition("/")
    sequence = sequence.replace("/", "_") or "frames"
    if sequence in (".", "..") or "\0" in arrays["name"]:
        raise InputError(
            f"{split_directory}: found an example {arrays['name']!r}, expected a name inside"
        )
    stems = [stem]
    while len(stems) < len(arrays["image"]):
        stems.append(_next_stem(stems[-1]))
    for key in folder.KEYS:
        for frame, name in zip(arrays.get(key, ()), stems, strict=False):
            path = split_directory / sequence / key / f"{name}.png"
            if not path.exists():  # most frames are in two examples
                write_whole(path, images.encode_png(frame))


def _next_stem(stem: str) -> str:
    """The name of the frame after 'clip_0009': 'clip_0010'."""
    prefix, number, _ = re.split(r"(\d+)$", stem)
    return f"{prefix}{int(number) + 1:0{len(number)}d}"
