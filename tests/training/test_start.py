"""What a run writes to its folder before its first step: when, and which of several processes."""

import pytest

from sflow_jax import sharding
from sflow_jax.training import loop


@pytest.fixture(autouse=True)
def _no_step(monkeypatch):
    monkeypatch.setattr(loop, "_optimize", lambda run, state, *_: state)


def contents(workdir):
    return {path.name: path.read_bytes() for path in workdir.iterdir() if path.is_file()}


def test_of_several_processes_the_first_writes(tmp_path, config, monkeypatch):
    monkeypatch.setattr(sharding, "is_first_host", lambda: False)
    loop.train(config, tmp_path)
    assert not contents(tmp_path)
    monkeypatch.undo()
    monkeypatch.setattr(loop, "_optimize", lambda run, state, *_: state)
    loop.train(config, tmp_path)
    assert {"run.json", "classes.json", "config.json"} <= contents(tmp_path).keys()


def test_nothing_is_written_before_every_process_has_come(tmp_path, config, monkeypatch):
    """One that the lock of a living run has refused does not come."""
    loop.train(config, tmp_path)
    before = contents(tmp_path)

    def lost(_):
        raise RuntimeError("process 0 is lost")

    monkeypatch.setattr(sharding, "wait_for_hosts", lost)
    config.log.every_steps = 7
    with pytest.raises(RuntimeError, match="process 0 is lost"):
        loop.train(config, tmp_path)
    assert contents(tmp_path) == before
