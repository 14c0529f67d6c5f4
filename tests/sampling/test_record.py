"""The record of a translation, which an older version may have written."""

import json

import pytest

from sflow_jax import configuration
from sflow_jax.errors import InputError
from sflow_jax.sampling import record
from tests.test_configuration import OLD_RUN


def described(path, **changes):
    config = configuration.upgrade(OLD_RUN, path)
    config.update_from_flattened_dict(changes)
    return {"seed": 1, "config": config.to_dict()}


def test_results_of_an_older_run_are_continued(tmp_path):
    path = tmp_path / record.RECORD_FILE
    path.write_text(json.dumps({"seed": 1, "config": OLD_RUN}), encoding="utf-8")
    record.check_output(tmp_path, described(path))
    with pytest.raises(InputError, match="found results of another config; expected the same"):
        record.check_output(tmp_path, described(path, **{"dned.width": 16}))


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / record.RECORD_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"sampling\.json: .*; expected the JSON that sampling"):
        record.check_output(tmp_path, {})
