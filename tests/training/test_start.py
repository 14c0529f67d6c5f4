"""What a run writes to its folder before its first step: when, and which of several processes."""

import json

import pytest

from sflow_jax import sharding
from sflow_jax.errors import InputError
from sflow_jax.runs.checkpoints import Checkpoints
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


def damage(checkpoint):
    largest = max((checkpoint / "state").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def test_a_change_is_recorded_with_the_step_that_was_restored(tmp_path, config, capsys):
    """Not of the newest checkpoint, if that is damaged; and not at all, if every one is."""
    state = loop.train(config, tmp_path)
    with Checkpoints(tmp_path, config.checkpoint) as checkpoints:
        for step in (4, 6):
            checkpoints.save(step, state.replace(step=state.step + step))
    damage(tmp_path / "checkpoints/6")
    config.log.every_steps = 7
    loop.train(config, tmp_path)
    assert "from step 4 on: config.log.every_steps is 7 and was 2" in capsys.readouterr().out
    assert json.loads((tmp_path / "changes.jsonl").read_text())["step"] == 4

    damage(tmp_path / "checkpoints/4")
    before = contents(tmp_path)
    config.log.every_steps = 8
    with pytest.raises(InputError, match="damaged"):
        loop.train(config, tmp_path)
    assert contents(tmp_path) == before
