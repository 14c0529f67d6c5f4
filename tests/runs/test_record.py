import dataclasses

import pytest

from sflow_jax.data.labels import CITYSCAPES, STREETS
from sflow_jax.errors import InputError
from sflow_jax.runs.record import RUN_FILE, RunRecord
from sflow_jax.runs.schedule import Schedule

RECORD = RunRecord("/data/streets", 400, 8, Schedule(50, 50, 12, 75, 125, 125))


def test_a_record_is_read_back_as_it_was_written(tmp_path):
    RECORD.save(tmp_path, STREETS)
    assert RunRecord.load(tmp_path) == RECORD
    RECORD.check_continues(tmp_path, STREETS)


def test_a_run_may_end_earlier_or_read_its_data_elsewhere(tmp_path):
    RECORD.save(tmp_path, STREETS)
    shorter = dataclasses.replace(RECORD.schedule, num_steps=100)
    dataclasses.replace(RECORD, dataset="/other", schedule=shorter).check_continues(
        tmp_path, STREETS
    )


def test_tables_that_differ_in_name_only_are_the_same_classes(tmp_path):
    RECORD.save(tmp_path, STREETS)
    RECORD.check_continues(tmp_path, dataclasses.replace(STREETS, name="a film"))


@pytest.mark.parametrize(
    ("changes", "table", "message"),
    [
        ({"global_batch_size": 1}, STREETS, "global_batch_size is 1 and was 8"),
        ({"num_examples": 401}, STREETS, "num_examples is 401 and was 400"),
        ({}, CITYSCAPES, "classes are others"),
    ],
)
def test_other_data_or_devices_do_not_continue_a_run(tmp_path, changes, table, message):
    RECORD.save(tmp_path, STREETS)
    with pytest.raises(InputError, match=message):
        dataclasses.replace(RECORD, **changes).check_continues(tmp_path, table)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"dataset": "x"}', '{"schedule": {"a": 1}}'])
def test_a_damaged_record_is_one_error(tmp_path, content):
    (tmp_path / RUN_FILE).write_text(content)
    with pytest.raises(InputError, match=r"run\.json"):
        RunRecord.load(tmp_path)


def test_a_missing_record_is_one_error(tmp_path):
    with pytest.raises(InputError, match="not found"):
        RunRecord.load(tmp_path)
