import os
import pathlib
import shutil
import subprocess
import sys

import jax
import pytest

from sflow_jax import compilation_cache
from tests.conftest import PROJECT_ROOT

PROGRAM = """
import pathlib, sys
import jax, jax.numpy as jnp
from sflow_jax import compilation_cache
compilation_cache._LEAST_SECONDS = 0
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name.endswith("cache_hits")))
compilation_cache.use()
assert jax.jit(lambda x: jnp.sort(x) @ x)(jnp.arange(5.0)) == 30
print(sum(hits))
"""


def start(cache, **variables):
    """The number of functions that a new process finds compiled, and its messages."""
    environment = {key: value for key, value in os.environ.items() if "COMPILATION" not in key}
    environment["XDG_CACHE_HOME"] = str(cache)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=PROJECT_ROOT, env=environment | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout), done.stderr


def test_a_second_process_does_not_compile_again(tmp_path):
    assert start(tmp_path / "new")[0] == 0
    assert start(tmp_path / "new")[0] > 0
    folder = tmp_path / "new/sflow_jax/compiled"
    assert folder.stat().st_mode & 0o777 == 0o700
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "new", moved)
    assert start(moved)[0] > 0
    [part] = (moved / "sflow_jax/compiled").iterdir()
    assert part.name.startswith(f"jax-{jax.__version__}-")
    assert any(part.iterdir())


def test_a_damaged_file_is_written_again(tmp_path):
    start(tmp_path)
    entries = list((tmp_path / "sflow_jax/compiled").rglob("jit_*"))
    for entry in entries:
        entry.write_bytes(entry.read_bytes()[:-100])
    hits, messages = start(tmp_path)
    assert hits == 0
    assert messages.count("was damaged and is compiled again") == len(entries)
    assert "Warning" not in messages
    hits, messages = start(tmp_path)
    assert hits == len(entries)
    assert not messages


def test_the_users_own_setting_goes_first(tmp_path):
    environment = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "own")}
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    start(tmp_path / "cache", **environment)
    assert not (tmp_path / "cache").exists()
    assert any((tmp_path / "own").iterdir())
    start(tmp_path / "cache", JAX_ENABLE_COMPILATION_CACHE="false")
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the cache is to be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "sflow_jax/compiled"


@pytest.fixture
def settings(folder, monkeypatch):
    """What `use` sets, by name."""
    found = {}
    monkeypatch.setattr(jax.config, "update", found.__setitem__)
    monkeypatch.setitem(jax.config.values, "jax_compilation_cache_dir", None)
    return found


def test_every_processor_and_every_version_has_its_own_part(folder, settings, monkeypatch):
    folders = set()
    for version in ("0.10.2", "0.12.0"):
        monkeypatch.setattr(jax, "__version__", version)
        for flags in ("flags : sse4_2 avx2\n", "flags : sse4_2 avx2 avx512f\n"):
            monkeypatch.setattr(pathlib.Path, "read_text", lambda _, encoding, flags=flags: flags)
            compilation_cache.use()
            folders.add(settings["jax_compilation_cache_dir"])
    assert {pathlib.Path(found).parent for found in folders} == {folder}
    assert len(folders) == 4


def test_without_a_cache_folder_it_lies_in_the_home(tmp_path, settings, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    compilation_cache.use()
    found = pathlib.Path(settings["jax_compilation_cache_dir"]).parent
    assert found == tmp_path / ".cache/sflow_jax/compiled"


def of_others(folder, monkeypatch):
    folder.mkdir(parents=True, mode=0o700)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)


def open_to_others(folder, monkeypatch):
    folder.mkdir(parents=True)
    folder.chmod(0o770)


def a_link(folder, monkeypatch):
    (folder.parent / "elsewhere").mkdir(parents=True, mode=0o700)
    folder.symlink_to(folder.parent / "elsewhere")


def a_file(folder, monkeypatch):
    folder.parent.mkdir(parents=True)
    folder.touch()


def below_a_file(folder, monkeypatch):
    folder.parent.touch()


@pytest.mark.parametrize("make", [of_others, open_to_others, a_link, a_file, below_a_file])
def test_a_folder_that_is_not_the_users_alone_is_not_used(
    folder, settings, monkeypatch, capsys, make
):
    make(folder, monkeypatch)
    compilation_cache.use()
    assert not settings
    note = capsys.readouterr().err
    assert note.startswith("note: ")
    assert note.endswith("; compiled functions are not kept\n")
    assert str(folder.parent) in note
