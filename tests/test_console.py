"""The short names of the commands."""

import ast
import importlib.util
import re
import subprocess
import sys

import pytest

from sflow_jax import console
from tests.conftest import PROJECT_ROOT


def test_setup_installs_the_names_that_console_knows():
    setup = (PROJECT_ROOT / "setup.py").read_text(encoding="utf-8")
    names = re.search(r"for name in (\(.*?\n {12}\))", setup, re.DOTALL)[1]
    assert {f"sflow-{name}" for name in ast.literal_eval(names)} == set(console.MODULES)


@pytest.mark.parametrize("module", console.MODULES.values())
def test_help_begins_with_examples(module):
    spec = importlib.util.find_spec(module)
    if spec.submodule_search_locations:
        spec = importlib.util.find_spec(f"{module}.__main__")
    with open(spec.origin, encoding="utf-8") as file:
        docstring = ast.get_docstring(ast.parse(file.read()))
    assert f"\n    python -m {module} " in docstring


def test_a_script_runs_the_command_of_its_name(tmp_path):
    script = tmp_path / "sflow-train"
    script.write_text("import sflow_jax.console\nsflow_jax.console.main()\n")
    command = [sys.executable, str(script), "--config", "configs/streets.py:tiny"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --workdir: missing")
