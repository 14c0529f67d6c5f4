"""Checkpoints that cannot be used end in one clear error."""

import ml_collections
import numpy as np
import pytest

from sflow_jax.data.pipeline import train_iterator
from sflow_jax.errors import InputError
from sflow_jax.runs.checkpoints import Checkpoints

OPTIONS = ml_collections.ConfigDict({"every_steps": 1, "keep": 1})
STATE = {"kernel": np.arange(6.0)}


def iterator():
    return train_iterator([{"name": "a"}, {"name": "b"}], batch_size=1, seed=0)


@pytest.fixture
def workdir(tmp_path):
    with Checkpoints(tmp_path, OPTIONS) as checkpoints:
        checkpoints.save(3, STATE, iterator())
    return tmp_path


def restore(workdir, state):
    with Checkpoints(workdir, OPTIONS) as checkpoints:
        return checkpoints.restore(state, iterator())


def test_a_state_comes_back(workdir):
    np.testing.assert_array_equal(restore(workdir, STATE)["kernel"], STATE["kernel"])


def test_other_networks_are_named(workdir):
    with pytest.raises(InputError, match=r"checkpoints/3: found .*bias.*; expected a whole chec"):
        restore(workdir, STATE | {"bias": np.zeros(2)})


def test_a_damaged_checkpoint_is_named(workdir):
    for path in (workdir / "checkpoints/3/state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(InputError, match=r"checkpoints/3: found .*; expected a whole checkpoint"):
        restore(workdir, STATE)
