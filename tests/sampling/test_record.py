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
    return {
        "seed": 1,
        "variants": [{"weights": [0.25, 0.75]}],
        "controls": {"share": 0.5},
        "config": config.to_dict(),
    }


OLD_RECORD = {
    "seed": 1,
    "ensemble_weights": [[0.25, 0.75]],
    "dned_share": 0.5,
    "config": OLD_RUN,
}


def test_results_of_an_older_run_are_continued(tmp_path):
    path = tmp_path / record.RECORD_FILE
    path.write_text(json.dumps(OLD_RECORD), encoding="utf-8")
    record.check_output(tmp_path, described(path))
    with pytest.raises(InputError, match="found results of other config; expected the same"):
        record.check_output(tmp_path, described(path, **{"dned.width": 16}))


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / record.RECORD_FILE).write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"sampling\.json: .*; expected the JSON that sampling"):
        record.check_output(tmp_path, {})
