import subprocess
import sys

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
