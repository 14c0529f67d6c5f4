"""Preparing a dataset with Apache Beam, on many machines or in many processes."""

import contextlib
import io
import json
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sflow_jax.data.shards import Shard, write_shard
from sflow_jax.errors import InputError, one_line
from sflow_jax.files import write_json

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

INSTALL = 'pip install -c constraints-beam.txt -e ".[beam]"'
_ERROR_SUFFIX = ".error"
_QUIET_WORKERS = "--default_sdk_harness_log_level=ERROR"  # the user's options follow and win


def pipeline_options(options: Sequence[str]) -> "PipelineOptions":
    """Parses the options of a pipeline.

    Args:
        options: of Beam and its runners, such as 'runner=DirectRunner'; none for Beam's defaults.

    Raises:
        InputError: Beam is not installed, or does not know an option or its value.
    """
    try:
        import apache_beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise InputError(
            f"--beam_options: found no Apache Beam ({error}), expected it installed: {INSTALL}"
        ) from error
    parsed = PipelineOptions([_QUIET_WORKERS, *(f"--{option}" for option in options)])
    with _input_errors():
        given = parsed.get_all_options(retain_unknown_options=True)
        apache_beam.Pipeline(options=parsed)
    unknown = given.keys() - PipelineOptions([]).get_all_options().keys()
    if unknown:
        raise InputError(
            f"--beam_options: found {min(unknown)!r}, expected options of Apache Beam, "
            "such as runner=DirectRunner,direct_num_workers=2"
        )
    return parsed


def write_shards(shards: Sequence[Shard], options: "PipelineOptions") -> None:
    """Writes each file of a dataset in one of the pipeline's workers.

    Raises:
        InputError: the source of an example has a fault.
        OSError: a file cannot be written.
    """
    import apache_beam as beam

    num_examples = sum(len(shard.items) for shard in shards)
    print(f"Apache Beam prepares {num_examples} examples in {len(shards)} files", file=sys.stderr)
    with beam.Pipeline(options=options) as pipeline:
        _ = (
            pipeline
            | "List files" >> beam.Create(shards)
            | "Share out" >> beam.Reshuffle()
            | "Write files" >> beam.Map(_write_or_report)
        )
    _check_written(shards)


def _write_or_report(shard: Shard) -> None:
    """Writes one file of the dataset, in a worker.

    A user's mistake is written to a file next to it. If it were raised, the runner would try again
    and print tracebacks.
    """
    report = _report_of(shard)
    if any(report.parent.glob(f"*{_ERROR_SUFFIX}")):
        return  # in vain: the dataset will not be complete
    try:
        write_shard(shard, map(shard.make_example, shard.items))
    except (InputError, OSError) as error:
        is_input = isinstance(error, InputError)
        write_json(report, {"is_input": is_input, "message": str(error)})


@contextlib.contextmanager
def _input_errors() -> Iterator[None]:
    """Turns what Beam says about its options into an `InputError`, even where it would exit."""
    usage = io.StringIO()
    try:
        with contextlib.redirect_stderr(usage):
            yield
    except SystemExit as error:
        message = usage.getvalue().strip().rpartition("error: ")[2]
        raise InputError(f"--beam_options: {message}") from error
    except (AttributeError, ImportError, RuntimeError, ValueError) as error:
        raise InputError(f"--beam_options: {one_line(error)}") from error


def _check_written(shards: Sequence[Shard]) -> None:
    for report in filter(pathlib.Path.exists, map(_report_of, shards)):
        found = json.loads(report.read_text(encoding="utf-8"))
        raise (InputError if found["is_input"] else OSError)(found["message"])
    for shard in shards:
        if not shard.path.exists():
            raise InputError(
                f"{shard.path}: not found after Apache Beam wrote it, expected its workers to "
                "share this folder (config.data.data_dir)"
            )


def _report_of(shard: Shard) -> pathlib.Path:
    return shard.path.with_name(f"{shard.path.name}{_ERROR_SUFFIX}")
