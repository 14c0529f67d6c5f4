r"""Prepares a dataset: stores it at the resolution of training, in the folder that training reads.

    python -m sflow_jax.prepare --config configs/cityscapes.py --config.data.source=DIR
    python -m sflow_jax.prepare --config configs/folder.py --config.data.source=DIR --check
    python -m sflow_jax.prepare --config configs/streets.py --export scenes
    python -m sflow_jax.prepare --config configs/cityscapes.py --config.data.source=DIR \
        --beam_options=runner=DirectRunner,direct_num_workers=8,direct_running_mode=multi_processing

Training does this itself if it has not been done. A dataset that is there already is compared with
its checksums. `--check` stores nothing: it reads all files, lists all that have a fault, and writes
a report of what the data hold, check/report.html: how frequent classes are, how many pixels are
edges, how fast things move, and what stands out. `--export` also writes the prepared splits as PNG
files in the layout of the `folder` dataset. With `--beam_options`, Apache Beam does the work, with
its own defaults if that is empty; its workers must see both folders under the same paths.
"""

import contextlib
import errno
import fcntl
import os
import pathlib
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence

import tensorflow_datasets as tfds
from absl import flags
from ml_collections import config_dict

from sflow_jax import cli, configuration
from sflow_jax.data import beam, frame_files
from sflow_jax.data import builder as builder_lib
from sflow_jax.data import prepared as prepared_lib
from sflow_jax.data.datasets import DATASETS
from sflow_jax.data.prepared import PreparedDataset
from sflow_jax.errors import InputError, writing_to
from sflow_jax.files import named_path, require_new_folder, user_path

_LOCK_FILE = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_MOST_FAULTS = 20  # that are printed; the report has more
_INCOMPLETE = "incomplete.*"  # how tensorflow-datasets names a folder until it is complete


def prepare(
    data_config: config_dict.ConfigDict, beam_options: Sequence[str] | None = None
) -> PreparedDataset:
    """Opens the dataset of a config, and builds it first if that has not been done.

    A prepared dataset is known by its name, size and the names, sizes and modification times of
    its source files, so a source that changed is prepared anew. Without a source, a dataset that
    was prepared before is opened.

    Args:
        data_config: the `data` section of a config.
        beam_options: builds with Apache Beam and these options of its pipeline, such as
            'runner=DirectRunner'; None builds with this machine's cores.

    Raises:
        InputError: the source has a fault, there is none, or the data cannot be stored.
    """
    configuration.check_section(data_config, "data")
    with builder_lib.quiet():
        download_config = tfds.download.DownloadConfig()
        if beam_options is not None:
            download_config.beam_options = beam.pipeline_options(beam_options)
        return _prepare(data_config, _data_dir(data_config), download_config)


def main() -> None:
    """Prepares and verifies the dataset of `--config`, or only reports on it."""
    options = flags.FLAGS
    if options.check:
        _check(options.config, named_path("--output", options.output))
        return
    directory = None if options.export is None else named_path("--export", options.export)
    if directory:
        require_new_folder(directory)  # found before the work of preparing
    dataset = prepare(options.config.data, options.beam_options)
    prepared_lib.open_dataset(dataset.directory, verify=True)
    sizes = ", ".join(f"{size} {split}" for split, size in dataset.num_examples.items())
    print(f"{dataset.directory}: {sizes} examples of {builder_lib.size_name(dataset.schema)}")
    if directory:
        prepared_lib.export(dataset, directory)
        print(f"{directory}: exported; read it with --config.data.dataset=folder")


def _check(config: config_dict.ConfigDict, output: pathlib.Path) -> None:
    """Writes a report on the raw data, and prints what stands out.

    Raises:
        InputError: files have faults; or there is no source, or its layout is another.
    """
    # They draw and compute, which preparing does not need.
    from sflow_jax import report
    from sflow_jax.survey import measures
    from sflow_jax.survey.report import make_report

    configuration.check_section(config.data, "data")
    with builder_lib.quiet():
        builder = DATASETS[config.data.dataset].make_builder(config.data, _data_dir(config.data))
    survey = measures.take(builder, config)
    source = config.data.source or config.data.dataset
    command = shlex.join(["python", "-m", "sflow_jax.prepare", *sys.argv[1:]])
    written = make_report(survey, f"A look at {source}", command)
    with writing_to(output):
        report.write_report(output, written)
    for line in (*survey.faults[:_MOST_FAULTS], *written.notes):
        print(line)
    print(f"{output}: {report.HTML_FILE}, {report.MARKDOWN_FILE}")
    if survey.faults:
        count = len(survey.faults)
        raise InputError(f"{source}: found faults in {count} of its files, expected none")


def _data_dir(data_config: config_dict.ConfigDict) -> pathlib.Path:
    default = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return user_path(data_config.data_dir or default)


def _prepare(
    data_config: config_dict.ConfigDict,
    data_dir: pathlib.Path,
    download_config: tfds.download.DownloadConfig,
) -> PreparedDataset:
    frame_files.check_example_size(data_config.height, data_config.width, data_config.frames)
    dataset = DATASETS[data_config.dataset]
    if dataset.has_source and not data_config.source:
        return prepared_lib.open_dataset(_find_prepared(data_config, data_dir))
    builder = dataset.make_builder(data_config, data_dir)
    directory = pathlib.Path(builder.data_path)
    if not _is_complete(directory):
        builder.check()
        _build(builder, directory, download_config)
    return prepared_lib.open_dataset(directory)


def _find_prepared(data_config: config_dict.ConfigDict, data_dir: pathlib.Path) -> pathlib.Path:
    size = builder_lib.size_name(data_config) if data_config.height else "*"
    found = sorted(
        directory
        for directory in data_dir.glob(f"{data_config.dataset}/{size}-*/*")
        if _is_complete(directory)
        and builder_lib.num_frames(directory.parent.name) == data_config.frames
    )
    if len(found) == 1:
        return found[0]
    wanted = f"{data_config.dataset!r} of {size.replace('*', 'any size')}"
    listing = f" ({', '.join(map(str, found))})" if found else ""
    raise InputError(
        f"{data_dir}: found {len(found) or 'no'} prepared {wanted}{listing}, "
        f"expected --config.data.source=DIR, the folder of the raw dataset"
    )


def _is_complete(directory: pathlib.Path) -> bool:
    is_named = not directory.name.startswith(_INCOMPLETE.rstrip("*"))
    return is_named and (directory / prepared_lib.INFO_FILE).is_file()


def _build(
    builder: builder_lib.ExampleBuilder,
    directory: pathlib.Path,
    download_config: tfds.download.DownloadConfig,
) -> None:
    with writing_to(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        with _lock(directory.parent / _LOCK_FILE):
            if _is_complete(directory):
                return  # another process did it while this one waited
            for stale in [directory, *directory.parent.glob(_INCOMPLETE)]:
                shutil.rmtree(stale, ignore_errors=True)
            builder.download_and_prepare(download_config=download_config)


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[None]:
    """Holds a lock that is released however the process ends, and that its children do not hold.

    Raises:
        InputError: the file system knows no locks.
    """
    with path.open("w", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting: another process prepares {path.parent}", file=sys.stderr)
            fcntl.lockf(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise InputError(
                f"{path.parent}: found a file system without locks ({error.strerror}), expected "
                "one with them: name another folder with --config.data.data_dir"
            ) from error
        yield


def _define_flags() -> None:
    cli.define_config_flag()
    flags.DEFINE_string("export", None, "Folder to write the prepared splits to, as PNG files.")
    flags.DEFINE_bool("check", False, "Only looks at the raw data, and writes a report on them.")
    flags.DEFINE_string("output", "check", "Folder of the report that --check writes.")
    flags.DEFINE_list(
        "beam_options", None, "Prepares with Apache Beam, its runner and options comma-separated."
    )
    flags.mark_flag_as_required("config")


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
