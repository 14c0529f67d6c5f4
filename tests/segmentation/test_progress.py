import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.segmentation.progress import Progress

STATE = {"x": jnp.arange(3.0), "count": jnp.int32(7)}


def state_after(step):
    return jax.tree.map(lambda x: x + step, STATE)


def save(folder, settings, steps=(1,), every_steps=1):
    with Progress(folder, settings, every_steps) as progress:
        for step in steps:
            progress.save(step, state_after(step))


def test_the_newest_due_state_comes_back(tmp_path):
    save(tmp_path / "a.state", {"sizes": ("8x8",)}, steps=range(1, 6), every_steps=2)
    with Progress(tmp_path / "a.state", {"sizes": ["8x8"]}) as progress:  # as JSON has it
        assert progress.step == 4
        found = progress.restore(STATE)
    jax.tree.map(np.testing.assert_array_equal, found, state_after(4))
    assert found["count"].dtype == np.int32


def test_a_state_that_a_kill_left_unfinished_is_not_taken(tmp_path):
    folder = tmp_path / "a.state"
    save(folder, {}, steps=(1,))
    save(tmp_path / "b.state", {}, steps=(2,))
    (tmp_path / "b.state" / "2").rename(folder / "2.orbax-checkpoint-tmp-0")
    with Progress(folder, {}) as progress:
        assert progress.step == 1


def test_state_of_another_training_is_refused(tmp_path):
    path = tmp_path / "a.state"
    save(path, {"seed": 0})
    with pytest.raises(InputError, match=r'a\.state: found a training with {"seed": 0}, expected'):
        Progress(path, {"seed": 1})


@pytest.mark.parametrize("part", ["settings", "state"])
def test_a_damaged_state_is_refused(tmp_path, part):
    path = tmp_path / "a.state"
    save(path, {"seed": 0})
    for file in (path / "1" / part).rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[:5])
    with pytest.raises(InputError, match=r"a\.state/1: .*expected the state of a training"):
        Progress(path, {"seed": 0}).restore(STATE)


def test_a_file_in_the_folders_place_is_refused(tmp_path):
    (tmp_path / "a.state").write_bytes(b"as earlier versions wrote it")
    with pytest.raises(InputError, match=r"a\.state: found a file, expected the folder"):
        Progress(tmp_path / "a.state", {})


def test_nothing_is_left_after_the_training(tmp_path):
    (tmp_path / "a.state.removed").mkdir()
    (tmp_path / "a.state.removed" / "left").touch()  # by a kill while it was removed
    with Progress(tmp_path / "a.state", {}, 1) as progress:
        progress.save(1, STATE)
        progress.remove()
    with Progress(tmp_path / "b.state", {}) as progress:
        assert progress.restore(3) == 3
        progress.remove()
    assert not list(tmp_path.iterdir())
