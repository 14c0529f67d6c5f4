import os
import pathlib
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
compilation_cache.use(pathlib.Path(sys.argv[1]))
assert jax.jit(lambda x: jnp.sort(x) @ x)(jnp.arange(5.0)) == 30
print(sum(hits))
"""


def start(folder, **variables):
    """The number of functions that a new process finds compiled, and its messages."""
    environment = {key: value for key, value in os.environ.items() if "COMPILATION" not in key}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        cwd=PROJECT_ROOT, env=environment | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout), done.stderr


def test_a_second_process_does_not_compile_again(tmp_path):
    workdir = tmp_path / "new/run"
    assert start(workdir)[0] == 0
    assert start(workdir)[0] > 0
    moved = workdir.rename(tmp_path / "moved")
    assert start(moved)[0] > 0
    [processor] = (moved / compilation_cache.COMPILED_FOLDER).iterdir()
    assert any(processor.iterdir())


def test_a_damaged_file_is_written_again(tmp_path):
    start(tmp_path)
    entries = list((tmp_path / compilation_cache.COMPILED_FOLDER).rglob("jit_*"))
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
    start(tmp_path / "run", **environment)
    assert not (tmp_path / "run").exists()
    assert any((tmp_path / "own").iterdir())


@pytest.fixture
def settings(monkeypatch):
    """What `use` sets, by name."""
    found = {}
    monkeypatch.setattr(jax.config, "update", found.__setitem__)
    return found


def test_every_processor_has_its_own_part(tmp_path, settings, monkeypatch):
    folders = set()
    for flags in ("flags : sse4_2 avx2\n", "flags : sse4_2 avx2 avx512f\n"):
        monkeypatch.setattr(pathlib.Path, "read_text", lambda _, encoding, flags=flags: flags)
        compilation_cache.use(tmp_path)
        folders.add(settings["jax_compilation_cache_dir"])
    assert {str(pathlib.Path(folder).parent) for folder in folders} == {str(tmp_path / "compiled")}
    assert len(folders) == 2


def test_a_folder_that_cannot_be_written_is_not_used(tmp_path, settings, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(os, "access", lambda path, mode: asked.append((path, mode)))
    compilation_cache.use(tmp_path / "run")
    assert asked == [(tmp_path, os.W_OK)]
    assert not settings
    note = f"note: {tmp_path / 'run'}: cannot be written; compiled functions are not kept\n"
    assert capsys.readouterr().err == note


def test_a_folder_below_a_file_is_not_used(tmp_path, settings):
    (tmp_path / "home").touch()
    compilation_cache.use(tmp_path / "home/.cache")
    assert not settings
