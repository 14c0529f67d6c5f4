import os
import subprocess
import sys

import jax
import pytest

from sflow_jax import cli
from tests.conftest import PROJECT_ROOT


def test_a_config_file_that_fails_is_one_line():
    result = subprocess.run(
        [sys.executable, "-m", "sflow_jax.main", "--config", "configs/streets.py:huge"],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr == (
        "error: command line or config: flag --config=configs/streets.py:huge: Error whilst "
        "parsing config file: ValueError: configs/streets.py: found variant 'huge', expected demo, "
        "offline, paper or tiny\n"
    )


def test_a_device_that_is_not_there_is_one_line():
    command = [sys.executable, "-m", "sflow_jax.main", "--config", "configs/streets.py:tiny"]
    result = subprocess.run(
        [*command, "--dry_run"],
        env=os.environ | {"JAX_PLATFORMS": "nothing"},
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stderr.startswith("error: JAX_PLATFORMS=nothing: found Unable to initialize back")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 9 bytes"),
            "RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes",
        ),
        (MemoryError(), "no memory is left"),
    ],
)
def test_memory_that_is_full_is_one_line(error, reason, monkeypatch, capsys):
    """That of a device comes as a RuntimeError, as a device that is not there does."""

    def main():
        raise error

    monkeypatch.setattr(cli.app, "run", lambda *_, **__: main())
    with pytest.raises(SystemExit) as end:
        cli.run(main)
    assert end.value.code == 1
    assert capsys.readouterr().err == (
        f"error: {reason}; expected smaller networks, images or batches, or more memory\n"
    )


def test_a_mistake_in_the_program_keeps_its_traceback(monkeypatch):
    def main():
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli.app, "run", lambda *_, **__: main())
    with pytest.raises(RuntimeError, match="a bug"):
        cli.run(main)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("main", ["--config", "configs/streets.py:tiny", "--workdir", "gs://bucket/run"]),
        ("prepare", ["--config", "configs/folder.py", "--config.data.source=s3://bucket/data"]),
    ],
)
def test_urls_are_refused_before_anything_is_made_of_them(command, arguments, tmp_path):
    arguments = [str(PROJECT_ROOT / x) if x.startswith("configs/") else x for x in arguments]
    result = subprocess.run(
        [sys.executable, "-m", f"sflow_jax.{command}", *arguments],
        env=os.environ | {"PYTHONPATH": str(PROJECT_ROOT)},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "://bucket/" in result.stderr
    assert "found a URL, expected a path on this machine" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
