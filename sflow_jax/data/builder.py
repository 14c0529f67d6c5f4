"""The tensorflow-datasets builder that every dataset here extends."""

import abc
import contextlib
import dataclasses
import os
from collections.abc import Iterator

import tensorflow_datasets as tfds
import tqdm
from absl import logging
from array_record.python import array_record_module

from sflow_jax.data import example, labels
from sflow_jax.errors import InputError

FILE_FORMAT = "array_record"
_EXAMPLES_PER_SHARD = 256  # a full disk is noticed where a shard ends


class ExampleBuilder(tfds.core.GeneratorBasedBuilder, abc.ABC, skip_registration=True):
    """Writes the examples of one schema, in their own order.

    A subclass says how many examples each split has and yields them. Its name, with
    `skip_registration=True`, is free to be one that tensorflow-datasets has too.

    tensorflow-datasets would keep a split in memory until it is complete, spill it through
    TensorFlow where it exceeds 1 GB, and shuffle it. Here examples go straight to disk instead:
    any size, no TensorFlow, a full disk is noticed early, and training shuffles anyway.
    """

    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # where checksums of downloads would lie; there are no downloads

    def __init__(
        self,
        *,
        schema: example.Schema,
        class_table: labels.ClassTable,
        fingerprint: str,
        source: str = "",
        data_dir: str | os.PathLike | None = None,
    ):
        """Describes the dataset; nothing is read or written yet.

        Args:
            schema: what each example holds.
            class_table: the meaning of the label maps.
            fingerprint: short text that differs where the examples would differ.
            source: where the raw data lie, for the record.
            data_dir: where prepared datasets live; None is tensorflow-datasets' default.

        Raises:
            InputError: it was prepared before and is damaged.
        """
        self.schema = schema
        self.class_table = class_table
        self._source = source
        config = tfds.core.BuilderConfig(
            name=f"{size_name(schema)}-{fingerprint}", version=self.VERSION
        )
        try:
            super().__init__(data_dir=data_dir, config=config, file_format=FILE_FORMAT)
        except Exception as error:  # whatever its reader raises where it is there but damaged
            raise damaged(self.data_path, error) from error

    @property
    @abc.abstractmethod
    def split_sizes(self) -> dict[str, int]:
        """The number of examples of each split: 'train', 'validation', 'test' or some of them."""

    @abc.abstractmethod
    def examples(self, split: str) -> Iterator[dict]:
        """Yields the examples of a split, as `example.encode` wants them."""

    def check(self) -> None:
        """Checks the whole source as far as that is cheap, before anything is written.

        Raises:
            InputError: names the first bad file.
        """

    def _info(self) -> tfds.core.DatasetInfo:
        metadata = {
            "class_table": self.class_table.to_json(),
            "schema": dataclasses.asdict(self.schema),
            "source": self._source,
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="Prepared by sflow_jax.",
            features=self.schema.features(),
            metadata=tfds.core.MetadataDict(metadata),
            disable_shuffling=True,
        )

    def _create_builder_config(self, builder_config, version) -> tfds.core.BuilderConfig:
        return builder_config  # without the warning that it is not a predefined one

    def _log_download_bytes(self) -> None:
        """Says nothing: nothing is downloaded."""

    def _log_download_done(self) -> None:
        """Says nothing: nothing was downloaded."""

    def _split_generators(self, dl_manager) -> dict:
        return {split: self._generate_examples(split) for split in self.split_sizes}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
        for index, arrays in enumerate(self.examples(split)):
            yield index, example.encode(arrays, self.schema)

    def _generate_splits(self, dl_manager, download_config) -> list[tfds.core.SplitInfo]:
        description = f"Preparing {self.name} {size_name(self.schema)}"
        total = sum(self.split_sizes.values())
        with tqdm.tqdm(total=total, desc=description, unit=" examples") as progress:
            return [
                self._write_split(split, generator, progress)
                for split, generator in self._split_generators(dl_manager).items()
            ]

    def _write_split(
        self, split: str, generator: Iterator[tuple[int, dict]], progress: tqdm.tqdm
    ) -> tfds.core.SplitInfo:
        template = self._get_filename_template(split_name=split)
        size = self.split_sizes[split]
        shard_lengths = [
            min(_EXAMPLES_PER_SHARD, size - start) for start in range(0, size, _EXAMPLES_PER_SHARD)
        ]
        num_bytes = 0
        for index, length in enumerate(shard_lengths):
            path = template.sharded_filepath(shard_index=index, num_shards=len(shard_lengths))
            writer = array_record_module.ArrayRecordWriter(os.fspath(path), "group_size:1")
            for _ in range(length):
                record = self.info.features.serialize_example(next(generator)[1])
                with _os_errors():
                    writer.write(record)
                num_bytes += len(record)
                progress.update()
            with _os_errors():
                writer.close()
        return tfds.core.SplitInfo(
            name=split,
            shard_lengths=shard_lengths,
            num_bytes=num_bytes,
            filename_template=template,
        )


def damaged(directory: os.PathLike, error: Exception) -> InputError:
    """The error for a prepared dataset that cannot be read."""
    return InputError(
        f"{directory}: {error}; expected a complete prepared dataset: "
        "remove this folder to prepare it afresh"
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what tensorflow-datasets logs for its developers off the user's screen."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """Calls a full disk what it is: the record writer raises a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(str(error)) from error


def size_name(schema: example.Schema) -> str:
    """The part of a prepared dataset's name that tells its size, such as '512x256'."""
    pairs = "x2" if schema.frames == 2 else ""
    return f"{schema.width}x{schema.height}{pairs}"


def num_frames(config_name: str) -> int:
    """The number of frames per example, from the name of a prepared dataset."""
    return config_name.partition("-")[0].count("x")
