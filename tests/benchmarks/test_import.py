"""Each benchmark can be started: what it needs of the package is there."""

import pathlib
import subprocess
import sys

import benchmarks
from tests.conftest import PROJECT_ROOT

_IMPORT = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"


def test_every_benchmark_can_be_imported():
    """In another process, as some set what JAX reads when it starts."""
    folder = pathlib.Path(benchmarks.__file__).parent
    names = [f"benchmarks.{path.stem}" for path in sorted(folder.glob("[!_]*.py"))]
    assert "benchmarks.train_step" in names
    found = subprocess.run(
        [sys.executable, "-c", _IMPORT, *names],
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
