import dataclasses
import json

import pytest

from sflow_jax.data.labels import CITYSCAPES, STREETS
from sflow_jax.errors import InputError
from sflow_jax.runs.record import RUN_FILE, RunRecord
from sflow_jax.runs.schedule import Schedule

RECORD = RunRecord("/data/streets", 400, 8, Schedule(50, 50, 12, 75, 125, 125), data="a")


def test_a_record_is_read_back_as_it_was_written(tmp_path):
    RECORD.save(tmp_path, STREETS)
    assert RunRecord.load(tmp_path) == RECORD
    RECORD.check_continues(tmp_path, STREETS)


def test_a_run_may_end_earlier_or_read_its_data_elsewhere(tmp_path):
    RECORD.save(tmp_path, STREETS)
    shorter = dataclasses.replace(RECORD.schedule, num_steps=100)
    # A dataset of an earlier version has no fingerprint.
    for data in (RECORD.data, ""):
        now = dataclasses.replace(RECORD, dataset="/other", schedule=shorter, data=data)
        now.check_continues(tmp_path, STREETS)


def test_tables_that_differ_in_name_only_are_the_same_classes(tmp_path):
    RECORD.save(tmp_path, STREETS)
    RECORD.check_continues(tmp_path, dataclasses.replace(STREETS, name="a film"))


@pytest.mark.parametrize(
    ("changes", "table", "message"),
    [
        ({"global_batch_size": 1}, STREETS, "global_batch_size is 1 and was 8"),
        ({"num_examples": 401}, STREETS, "num_examples is 401 and was 400"),
        ({"data": "b"}, STREETS, "the training examples are others than those in /data/streets"),
        ({}, CITYSCAPES, "classes are others"),
    ],
)
def test_other_data_or_devices_do_not_continue_a_run(tmp_path, changes, table, message):
    RECORD.save(tmp_path, STREETS)
    with pytest.raises(InputError, match=message):
        dataclasses.replace(RECORD, **changes).check_continues(tmp_path, table)


@pytest.mark.parametrize(("before", "now"), [(2, 2), (0, 2), (2, 0), (2, 1)])
def test_another_number_of_threads_is_said(tmp_path, capsys, before, now):
    """Unless one is unknown."""
    dataclasses.replace(RECORD, num_threads=before).save(tmp_path, STREETS)
    dataclasses.replace(RECORD, num_threads=now).check_continues(tmp_path, STREETS)
    note = capsys.readouterr().err
    if before and now and before != now:
        assert "found 1 threads where the run had 2" in note
        assert "NPROC=2 in the environment" in note
    else:
        assert note == ""


@pytest.mark.parametrize("content", ["", "{", "[]", '{"dataset": "x"}', '{"schedule": {"a": 1}}'])
def test_a_damaged_record_is_one_error(tmp_path, content):
    (tmp_path / RUN_FILE).write_text(content)
    with pytest.raises(InputError, match=r"run\.json"):
        RunRecord.load(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset", 3),
        ("num_examples", "400"),
        ("num_examples", -1),
        ("global_batch_size", 8.0),
        ("global_batch_size", True),
        ("imported_from", [1]),
        ("imported_from", 5),
        ("schedule", [50] * 6),
        ("schedule", {**dataclasses.asdict(RECORD.schedule), "num_steps": "125"}),
        ("data", None),
    ],
)
def test_a_record_with_a_value_of_another_type_is_one_error(tmp_path, field, value):
    RECORD.save(tmp_path, STREETS)
    content = json.loads((tmp_path / RUN_FILE).read_text())
    (tmp_path / RUN_FILE).write_text(json.dumps(content | {field: value}))
    with pytest.raises(InputError, match=r"run\.json: .*; expected the JSON that training wrote"):
        RunRecord.load(tmp_path)


def test_a_record_of_an_earlier_version_is_read(tmp_path):
    RECORD.save(tmp_path, STREETS)
    content = json.loads((tmp_path / RUN_FILE).read_text())
    del content["data"], content["config"], content["imported_from"]
    (tmp_path / RUN_FILE).write_text(json.dumps(content))
    assert RunRecord.load(tmp_path) == dataclasses.replace(RECORD, data="")


def test_a_missing_record_is_one_error(tmp_path):
    with pytest.raises(InputError, match="not found"):
        RunRecord.load(tmp_path)
