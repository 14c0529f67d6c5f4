"""Checkpoints come back as they were, or the one before does, and what is damaged is named."""

import json
import random
import shutil

import ml_collections
import numpy as np
import pytest

from sflow_jax import manifest
from sflow_jax.errors import InputError
from sflow_jax.runs import checkpoints as checkpoints_lib
from sflow_jax.runs.checkpoints import Checkpoints, newest_step, restore_parts, save_networks

OPTIONS = ml_collections.ConfigDict({"every_steps": 1, "keep": 3})
STEPS = (3, 5)


def state(step):
    return {"kernel": np.arange(6.0) + step, "bias": np.random.default_rng(step).random(3000)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("saved")
    with Checkpoints(workdir, OPTIONS) as checkpoints:
        for step in STEPS:
            checkpoints.save(step, state(step))
    return workdir


@pytest.fixture
def workdir(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    return tmp_path / "run"


def restore(workdir, like=None):
    with Checkpoints(workdir, OPTIONS) as checkpoints:
        return checkpoints.restore(like or state(0)), checkpoints.latest_step


def assert_is_of(step, restored):
    for name, array in state(step).items():
        np.testing.assert_array_equal(restored[name], array)


def test_a_state_comes_back(workdir, capsys):
    restored, step = restore(workdir)
    assert step == 5
    assert_is_of(5, restored)
    assert capsys.readouterr().err == ""


def test_a_checkpoint_has_a_list_of_its_files_when_it_has_its_name(saved):
    for step in STEPS:
        folder = saved / f"checkpoints/{step}"
        files = json.loads((folder / "manifest.json").read_text())["files"]
        written = {
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        }
        assert files.keys() >= written - {
            "manifest.json",
            "_CHECKPOINT_METADATA",
            "commit_success.txt",
        }
        assert any(name.startswith("state/d/") for name in files)


def test_other_networks_are_named_and_nothing_else_is_tried(workdir):
    with pytest.raises(InputError, match=r"checkpoints/5: found .*other.*; expected a whole chec"):
        restore(workdir, state(0) | {"other": np.zeros(2)})
    assert sorted(path.name for path in (workdir / "checkpoints").iterdir()) == ["3", "5"]


def largest(folder):
    return max(folder.rglob("*"), key=lambda path: path.stat().st_size * path.is_file())


def flip(folder):
    path = largest(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(folder):
    largest(folder).write_bytes(largest(folder).read_bytes()[:-1])


def remove_file(folder):
    largest(folder).unlink()


def cut_orbax_manifest(folder):
    path = folder / "state/manifest.ocdbt"
    path.write_bytes(path.read_bytes()[:20])


def empty_folder(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def cut_list(folder):
    (folder / "manifest.json").write_text('{"files": {')


def empty_files_of_an_earlier_version(folder):
    (folder / "manifest.json").unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.write_bytes(b"")


DAMAGES = [
    flip,
    cut,
    remove_file,
    cut_orbax_manifest,
    empty_folder,
    cut_list,
    empty_files_of_an_earlier_version,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(workdir, capfd, damage):
    folder = workdir / "checkpoints"
    damage(folder / "5")
    parts, step = restore_parts(workdir, state(0))
    assert step == 3
    assert_is_of(3, parts)
    notes = [line for line in capfd.readouterr().err.splitlines() if line.startswith("note: ")]
    assert len(notes) == 1
    assert notes[0].startswith(f"note: {folder}/5")
    assert notes[0].endswith("; step 3 is used")
    with pytest.raises(InputError, match=f"{folder}/5"):
        restore_parts(workdir, state(0), step=5)
    assert (folder / "5").is_dir()  # reading changes nothing

    restored, step = restore(workdir)
    assert step == 3
    assert_is_of(3, restored)
    errors = capfd.readouterr().err
    assert f"note: {folder}/5 is kept as 5.1.damaged" in errors
    assert "Traceback" not in errors
    with Checkpoints(workdir, OPTIONS) as checkpoints:  # the run comes to this step again
        checkpoints.save(5, state(5))
    assert restore(workdir)[1] == 5
    assert (folder / "5.1.damaged").is_dir()


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_a_whole_checkpoint_nothing_is_restored_and_nothing_renamed(workdir, damage):
    folder = workdir / "checkpoints"
    for step in STEPS:
        damage(folder / str(step))
    with pytest.raises(InputError, match=f"{folder}/5.*; no earlier checkpoint is whole"):
        restore(workdir)
    with pytest.raises(InputError, match=f"{folder}/5.*; no earlier checkpoint is whole"):
        restore_parts(workdir, state(0))
    assert checkpoints_lib.has_checkpoint(workdir)
    assert sorted(path.name for path in folder.iterdir()) == ["3", "5"]


def test_no_flipped_bit_of_a_data_file_passes(workdir):
    folder, choose = workdir / "checkpoints/5", random.Random(0)
    files = [path for path in folder.rglob("*") if "/d/" in str(path)]
    for _ in range(20):
        path = choose.choice(files)
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[choose.randrange(len(whole))] ^= 1 << choose.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(InputError, match="damaged: its SHA-256 is"):
            restore_parts(workdir, state(0), step=5)
        path.write_bytes(whole)
    assert restore_parts(workdir, state(0), step=5)[1] == 5


def test_a_checkpoint_of_an_earlier_version_is_used_as_it_is(workdir, capsys):
    (workdir / "checkpoints/5/manifest.json").unlink()
    restored, step = restore(workdir)
    assert step == 5
    assert_is_of(5, restored)
    assert capsys.readouterr().err == ""


def test_the_newest_step_is_of_a_checkpoint_that_looks_whole(workdir):
    assert newest_step(workdir) == 5
    cut(workdir / "checkpoints/5")
    (workdir / "checkpoints/99").mkdir()
    (workdir / "checkpoints/8.orbax-checkpoint-tmp").mkdir()
    assert newest_step(workdir) == 3
    assert newest_step(workdir / "nothing") is None


def test_a_checkpoint_that_is_removed_while_it_is_read_is_no_fault(workdir, monkeypatch, capsys):
    """As in a run that is being trained and keeps one checkpoint."""
    read_newest, removed = checkpoints_lib._read_newest, []

    def read_and_lose(folder, steps, read):
        if not removed:
            removed.append(shutil.rmtree(folder / "5"))
        return read_newest(folder, steps, read)

    monkeypatch.setattr(checkpoints_lib, "_read_newest", read_and_lose)
    parts, step = restore_parts(workdir, state(0))
    assert step == 3
    assert_is_of(3, parts)
    assert capsys.readouterr().err == ""  # nothing is called damaged
    removed.clear()
    monkeypatch.setattr(shutil, "rmtree", lambda folder: (folder / "state").rename(folder / "x"))
    with pytest.raises(InputError, match="expected step 5"):
        restore_parts(workdir, state(0), step=5)


def test_whatever_a_library_raises_of_a_folder_in_motion_is_tried_again(workdir, monkeypatch):
    now, calls = checkpoints_lib._restore_parts_now, []

    def fail_first(folder, parts, step):
        calls.append(step)
        if len(calls) < 4:
            (folder / f"x{len(calls)}").mkdir()
            (folder / f"x{len(calls)}/a").touch()
            raise KeyError("a bare traceback")
        return now(folder, parts, step)

    monkeypatch.setattr(checkpoints_lib, "_restore_parts_now", fail_first)
    monkeypatch.setattr(checkpoints_lib, "_WAITING_SECONDS", 0)
    assert restore_parts(workdir, state(0))[1] == 5
    assert len(calls) == 4


def test_networks_alone_have_a_list_too(tmp_path):
    save_networks(tmp_path, 7, state(7))
    assert manifest.has_manifest(tmp_path / "checkpoints/7")
    parts, _ = restore_parts(tmp_path, {"ema_params": state(0)})
    assert_is_of(7, parts["ema_params"])
