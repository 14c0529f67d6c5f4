"""The files that a dataset is split into; each can be written by another process."""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from array_record.python import array_record_module
from tensorflow_datasets.core.example_serializer import ExampleSerializer
from tensorflow_datasets.core.utils import incomplete_file

from sflow_jax.data import example


@dataclasses.dataclass(frozen=True)
class Shard:
    """A file of a dataset and how its examples are made; can be pickled to other machines.

    Attributes:
        path: the file.
        make_example: makes an example, as `example.encode_arrays` takes it, from an item.
        items: one for each example, in the order of the examples.
        schema: what each example holds.
    """

    path: pathlib.Path
    make_example: Callable[[Any], dict]
    items: Sequence
    schema: example.Schema


def write_shard(shard: Shard, examples: Iterable[dict]) -> None:
    """Writes a file of examples, which gets its name when it is complete.

    Args:
        shard: what to write.
        examples: made from its items.

    Raises:
        OSError: it cannot be written.
    """
    serialize = _serializer(shard.schema)
    with incomplete_file(shard.path) as path:
        writer = array_record_module.ArrayRecordWriter(os.fspath(path), "group_size:1")
        for arrays in examples:
            record = serialize(arrays)
            with _os_errors():
                writer.write(record)
        with _os_errors():
            writer.close()


def _serializer(schema: example.Schema) -> Callable[[dict], bytes]:
    """Like `features.serialize_example`, but the same example always gives the same bytes."""
    features = schema.features()
    serializer = ExampleSerializer(features.get_serialized_info())

    def serialize(arrays: dict) -> bytes:
        encoded = features.encode_example(example.encode_arrays(arrays, schema))
        return serializer.get_tf_example(encoded).SerializeToString(deterministic=True)

    return serialize


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """Turns the RuntimeError that the record writer raises on a full disk into an OSError."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(str(error)) from error
