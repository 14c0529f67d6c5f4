"""What a run says when its disk is full, or when its folder or its data are gone."""

import contextlib
import logging
import pathlib
from collections.abc import Iterator

from sflow_jax.errors import InputError, TrainingError, one_line

# What libraries make of errno; the first word that fits is said.
_REASONS = {
    "No space left": "no space is left on its disk",
    "Disk quota exceeded": "the quota of its disk is used up",
    "File too large": "a file is larger than its file system allows",
    "Read-only file system": "its file system cannot be written any more",
    "Stale file handle": "its file system is gone",
    "Input/output error": "its disk fails",
}
_REMEDY = (
    "the checkpoints before are whole: when that is mended, the same command continues from them"
)


@contextlib.contextmanager
def run_failures(workdir: pathlib.Path, dataset: pathlib.Path) -> Iterator[None]:
    """Turns what fails in a run because of its disk into one line.

    Args:
        workdir: the folder of the run.
        dataset: of the prepared data.

    Raises:
        TrainingError: the disk is full or fails, or one of the folders is gone.
    """
    with _without_tracebacks():
        try:
            yield
        except (InputError, TrainingError):
            raise
        except Exception as error:
            if not (message := _explain(error, workdir, dataset)):
                raise
            raise TrainingError(message) from error


def _explain(error: Exception, workdir: pathlib.Path, dataset: pathlib.Path) -> str:
    """What an error of any library says about the disk; '' if it is about something else."""
    for folder, name in ((workdir, "the folder of the run"), (dataset, "its prepared dataset")):
        if not folder.is_dir():
            return f"{folder}: {name} is gone, expected it to stay where it was"
    reason = next((text for key, text in _REASONS.items() if key in str(error)), "")
    if not reason and not isinstance(error, OSError):
        return ""
    return f"{workdir}: {reason or one_line(error)}; {_REMEDY}"


@contextlib.contextmanager
def _without_tracebacks() -> Iterator[None]:
    """Hides what Orbax and asyncio log of an error that they raise as well."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    for logger in loggers:
        logger.addFilter(_is_no_report)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_is_no_report)


def _is_no_report(record: logging.LogRecord) -> bool:
    is_theirs = any(name in record.pathname for name in ("orbax", "asyncio"))
    return not (is_theirs and record.levelno >= logging.ERROR)
