"""Opens what tensorflow-datasets has written, without importing what the files name.

A folder says by names of Python classes how its examples are stored, in `features.json` and in
`dataset_info.json`, and `tfds.builder_from_directory` imports their modules, from the current
folder, too. Here the features come from our own schema.
"""

import json
import os
import pathlib

import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core.read_only_builder import ReadOnlyBuilder

from sflow_jax.data import builder, example

_FEATURES_FILE = "features.json"


# tensorflow-datasets has no types: its keyword is unknown to the type checker.
class _Opened(ReadOnlyBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A prepared dataset whose features are those of a schema."""

    def __init__(self, directory: pathlib.Path, schema: example.Schema):
        self._schema = schema
        super().__init__(builder_dir=directory, file_format=builder.FILE_FORMAT)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, features=self._schema.features())


def open_builder(directory: pathlib.Path, schema: example.Schema) -> tfds.core.DatasetBuilder:
    """The builder of a prepared dataset, to read with.

    Raises:
        Exception: whatever tensorflow-datasets raises for a damaged file.
    """
    return _Opened(directory, schema)


def check_features(directory: pathlib.Path, schema: example.Schema) -> None:
    """Checks that the examples of a folder hold what its schema says.

    Raises:
        ValueError: they hold something else.
    """
    content = json.loads((directory / _FEATURES_FILE).read_text(encoding="utf-8"))
    found, expected = set(content["featuresDict"]["features"]), {*schema.keys, "name"}
    if found != expected:
        raise ValueError(
            f"{_FEATURES_FILE} has {', '.join(sorted(found))}, metadata.json "
            f"{', '.join(sorted(expected))}"
        )


def check_shards(directory: pathlib.Path, split: tfds.core.SplitInfo) -> None:
    """Checks that the files of a split are in the folder and hold their number of examples.

    Raises:
        ValueError: one does not, or lies elsewhere.
    """
    for name, length in zip(split.filepaths, split.shard_lengths, strict=True):
        path = pathlib.Path(name)
        if path.parent != directory:
            raise ValueError(f"names {path}, which lies elsewhere")
        reader = array_record_module.ArrayRecordReader(os.fspath(path))
        try:
            if reader.num_records() != length:
                raise ValueError(f"{path.name} has {reader.num_records()} examples of {length}")
        finally:
            reader.close()
