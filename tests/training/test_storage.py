"""What a run says of its disk; real full disks: docs/robustness.md."""

import errno
import logging
import os

import pytest
from absl import logging as absl_logging

from sflow_jax.errors import InputError, TrainingError
from sflow_jax.training.storage import run_failures

REMEDY = (
    "; the checkpoints before are whole: when that is mended, the same command continues from them"
)


@pytest.fixture
def places(tmp_path):
    folders = tmp_path / "run", tmp_path / "data"
    for folder in folders:
        folder.mkdir()
    return folders


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "no space is left on its disk"),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), "the quota of its disk is used up"),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), "its file system cannot be written any "
         "more"),
        (OSError(errno.ESTALE, os.strerror(errno.ESTALE)), "its file system is gone"),
        (OSError(errno.EPERM, "no", "x"), "[Errno 1] no: 'x'"),
        # As TensorStore and Orbax word it.
        (ValueError("RESOURCE_EXHAUSTED: Error writing \"d/1\": No space left on device [\n...]"),
         "no space is left on its disk"),
        (RuntimeError("[Errno 122] Disk quota exceeded"), "the quota of its disk is used up"),
    ],
)  # fmt: skip
def test_a_disk_that_takes_no_more_is_one_line(places, error, reason):
    with pytest.raises(TrainingError) as found, run_failures(*places):
        raise error
    assert str(found.value) == f"{places[0]}: {reason}{REMEDY}"


@pytest.mark.parametrize("index", [0, 1])
def test_a_folder_that_is_gone_is_named(places, index):
    name = ("the folder of the run", "its prepared dataset")[index]
    places[index].rmdir()
    with pytest.raises(TrainingError) as found, run_failures(*places):
        raise RuntimeError("NOT_FOUND: whatever a library makes of it")
    message = f"{places[index]}: {name} is gone, expected it to stay where it was"
    assert str(found.value) == message


@pytest.mark.parametrize("error", [InputError("a"), TrainingError("a"), KeyError("a bug")])
def test_other_errors_pass_through(places, error):
    with pytest.raises(type(error)) as found, run_failures(*places):
        raise error
    assert found.value is error


def test_what_libraries_report_as_well_is_not_shown_twice(places, caplog):
    with run_failures(*places):
        for logger in (logging.getLogger("asyncio"), logging.getLogger("absl")):
            record = logger.makeRecord("", logging.ERROR, "/x/orbax/a.py", 1, "trouble", (), None)
            logger.handle(record)
        absl_logging.warning("no TensorBoard summaries")
    assert [record.getMessage() for record in caplog.records] == ["no TensorBoard summaries"]
