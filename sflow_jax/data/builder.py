"""The tensorflow-datasets builder that the builders of all datasets extend."""

import abc
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds
import tqdm
from absl import logging
from tensorflow_datasets.core.dataset_builder import FileReaderBuilder

from sflow_jax import manifest
from sflow_jax.data import beam, example, flow, labels, workers
from sflow_jax.data.shards import Shard, write_shard
from sflow_jax.errors import InputError, one_line

FILE_FORMAT = "array_record"
WHOLE = "a whole prepared dataset"
"""What is expected of a folder, in messages."""
_OWN_FILES = re.compile(
    r"(dataset_info|features|metadata|manifest)\.json|[\w-]+\.array_record-\d+-of-\d+"
)
_EXAMPLES_PER_SHARD = 256  # a full disk is noticed where a shard ends


class _InfoWithManifest(tfds.core.DatasetInfo):
    """Written last, while the folder has no name yet, and after it the list of all files."""

    def write_to_directory(self, dataset_info_dir: os.PathLike, all_metadata: bool = True) -> None:
        super().write_to_directory(dataset_info_dir, all_metadata)
        manifest.write_manifest(pathlib.Path(dataset_info_dir))


# tensorflow-datasets has no types: its keyword is unknown to the type checker.
class ExampleBuilder(FileReaderBuilder, abc.ABC, skip_registration=True):  # type: ignore[call-arg]
    """Writes the examples of one schema, in their own order.

    A subclass says how many examples each split has and how they are made. It is not registered, so
    it may have the name of a dataset in tensorflow-datasets.

    `tfds.core.GeneratorBasedBuilder` would keep a split in memory until it is complete, spill it
    through TensorFlow if it exceeds 1 GB, and shuffle it. Here examples go straight to disk: of any
    number, without TensorFlow, and a full disk is noticed early. Training shuffles them anyway.
    Given a download config with options for Apache Beam, Beam writes the same files in parallel.
    """

    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # the folder of checksums of downloads; there are no downloads

    def __init_subclass__(cls, skip_registration: bool = True) -> None:
        super().__init_subclass__(skip_registration=skip_registration)

    def __init__(
        self,
        *,
        schema: example.Schema,
        class_table: labels.ClassTable,
        contents: str,
        source: str = "",
        data_dir: str | os.PathLike | None = None,
    ):
        """Describes the dataset; nothing is read or written yet.

        Args:
            schema: what each example holds.
            class_table: the meaning of the label maps.
            contents: text that identifies the examples, apart from their size and flow: other
                examples have another text.
            source: the folder of the raw data; it is recorded.
            data_dir: folder of prepared datasets; None is tensorflow-datasets' default.

        Raises:
            InputError: it was prepared before and is damaged.
        """
        self.schema = schema
        self.class_table = class_table
        self._source = source
        config = tfds.core.BuilderConfig(
            name=f"{size_name(schema)}-{_fingerprint(contents, schema)}", version=self.VERSION
        )
        try:
            super().__init__(data_dir=data_dir, config=config, file_format=FILE_FORMAT)
        except ImportError:  # a missing library says nothing about the dataset
            raise
        except Exception as error:  # whatever the reader raises for a damaged dataset
            raise damaged(self.data_path, error) from error

    @property
    @abc.abstractmethod
    def split_sizes(self) -> dict[str, int]:
        """The number of examples of each split: 'train', 'validation', 'test' or some of them."""

    @abc.abstractmethod
    def recipe(self, split: str) -> tuple[Callable[[Any], dict], Sequence]:
        """How the examples of a split are made, in any process and any order.

        Returns:
            A function that makes an example, as `example.encode_arrays` takes it, from an item; and
            the item of each example. Both can be pickled.
        """

    def examples(self, split: str) -> Iterator[dict]:
        """Makes the examples of a split with all cores, and yields them in their order.

        Raises:
            InputError: the source of an example has a fault.
        """
        make_example, items = self.recipe(split)
        yield from workers.map_in_processes(make_example, items, len(items))

    @property
    def source_size(self) -> tuple[int, int] | None:
        """Height and width of the first file of the source, pixels; None where there is none."""
        return None

    def faults(self) -> Iterator[InputError]:
        """The faults of the source that are cheap to find; each names a file."""
        yield from ()

    def check(self) -> None:
        """Checks the source, as far as that is cheap, before anything is written.

        Raises:
            InputError: names the first bad file.
        """
        for fault in self.faults():
            raise fault

    def _info(self) -> tfds.core.DatasetInfo:
        metadata = {
            "class_table": self.class_table.to_json(),
            "schema": dataclasses.asdict(self.schema),
            "source": self._source,
        }
        return _InfoWithManifest(
            builder=self,
            description="Prepared by sflow_jax.",
            features=self.schema.features(),
            metadata=tfds.core.MetadataDict(metadata),
            disable_shuffling=True,
        )

    def _create_builder_config(
        self, builder_config: tfds.core.BuilderConfig, version: Any
    ) -> tfds.core.BuilderConfig:
        return builder_config  # without a warning that it is not predefined

    def _log_download_bytes(self) -> None:
        """Prints nothing, because nothing is downloaded."""

    def _log_download_done(self) -> None:
        """Prints nothing, because nothing was downloaded."""

    def _download_and_prepare(
        self, dl_manager: Any, download_config: tfds.download.DownloadConfig
    ) -> None:
        shards = {split: self._shards(split) for split in self.split_sizes}
        every_shard = list(itertools.chain.from_iterable(shards.values()))
        if download_config.beam_options is None:
            self._write(every_shard)
        else:
            beam.write_shards(every_shard, download_config.beam_options)
        infos = [self._split_info(split, shards[split]) for split in shards]
        self.info.set_splits(tfds.core.SplitDict(infos))

    def _shards(self, split: str) -> list[Shard]:
        make_example, items = self.recipe(split)
        starts = range(0, len(items), _EXAMPLES_PER_SHARD)
        template = self._get_filename_template(split_name=split)
        return [
            Shard(
                pathlib.Path(template.sharded_filepath(shard_index=index, num_shards=len(starts))),
                make_example,
                items[start : start + _EXAMPLES_PER_SHARD],
                self.schema,
            )
            for index, start in enumerate(starts)
        ]

    def _write(self, shards: Sequence[Shard]) -> None:
        with contextlib.closing(self._all_examples()) as examples:
            for shard in shards:
                write_shard(shard, itertools.islice(examples, len(shard.items)))

    def _all_examples(self) -> Generator[dict, None, None]:
        description = f"Preparing {self.name} {size_name(self.schema)}"
        total = sum(self.split_sizes.values())
        with tqdm.tqdm(total=total, desc=description, unit=" examples") as progress:
            for split in self.split_sizes:
                for arrays in self.examples(split):
                    progress.update()
                    yield arrays

    def _split_info(self, split: str, shards: Sequence[Shard]) -> tfds.core.SplitInfo:
        return tfds.core.SplitInfo(
            name=split,
            shard_lengths=[len(shard.items) for shard in shards],
            num_bytes=sum(shard.path.stat().st_size for shard in shards),
            filename_template=self._get_filename_template(split_name=split),
        )


def damaged(directory: os.PathLike, error: Exception) -> InputError:
    """The error for a prepared dataset that cannot be read.

    It advises to remove the folder only if that holds nothing but a prepared dataset.
    """
    reason = one_line(error, longest=None).removeprefix(f"{directory}").lstrip(":/ ")
    advice = ": remove this folder to prepare it afresh" if _is_prepared(directory) else ""
    return InputError(f"{directory}: {reason}; expected {WHOLE}{advice}")


def _is_prepared(directory: os.PathLike) -> bool:
    names = os.listdir(directory) if os.path.isdir(directory) else []
    return bool(names) and all(map(_OWN_FILES.fullmatch, names))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hides the log messages that tensorflow-datasets writes for its own developers."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _fingerprint(contents: str, schema: example.Schema) -> str:
    """A hash of the contents and of how their flow is computed: eight hexadecimal digits."""
    # Names of files may hold bytes that are no UTF-8: the same bytes give the same digest.
    digest = hashlib.sha256(contents.encode(errors="surrogateescape"))
    if schema.flow:
        digest.update(json.dumps(flow.FARNEBACK).encode())
    return digest.hexdigest()[:8]


def size_name(schema: example.Schema) -> str:
    """The size in the name of a prepared dataset: '512x256', or '512x256x2' for pairs."""
    frames = f"x{schema.frames}" if schema.frames > 1 else ""
    return f"{schema.width}x{schema.height}{frames}"


def num_frames(config_name: str) -> int:
    """The number of frames per example, from the name of a prepared dataset."""
    numbers = config_name.partition("-")[0].split("x")
    return int(numbers[2]) if len(numbers) > 2 else 1
