"""The notebooks run from top to bottom, and what they keep of a run reads well."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from nbformat.v4 import new_code_cell

from tests.colab.execute import NOTEBOOKS, execute, read, write_archives
from tests.conftest import PROJECT_ROOT
from tests.fast_jit import FAST_FLAGS

FILES = sorted(NOTEBOOKS.glob("*.ipynb"))
BADGE = r"\(https://colab\.research\.google\.com/assets/colab-badge\.svg\)\]\((.+?)\)"
LARGEST = 600_000  # bytes
_MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|mnt|opt|private|root|srv|tmp|Users|usr|var|work)/")


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook):
    """All that the cells wrote, without pictures."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return "".join(output.get("text", "") for output in outputs)


def has_picture(output):
    return bool({"image/jpeg", "image/png"} & output.get("data", {}).keys())


def losses_of(workdir):
    """The L1 loss by step."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return {line["step"]: line["l1"] for line in lines if "l1" in line}


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """A folder to run in, as Colab's TPU runtimes are: a CPU's devices and no TensorFlow."""
    folder = tmp_path_factory.mktemp("runtime")
    without = folder / "without" / "tensorflow.py"
    without.parent.mkdir()
    without.write_text('raise ImportError("as on a TPU runtime")')
    variables = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": os.pathsep.join(map(str, (without.parent, PROJECT_ROOT, *sys.path))),
        "SFLOW_VARIANT": "tiny",
        "XLA_FLAGS": FAST_FLAGS,
    }
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in variables.items():
            patch.setenv(variable, value)
        yield folder


def run(stem, folder):
    """The notebook, executed; a cell that raises fails the test."""
    notebook = read(stem)
    execute(notebook, folder)
    return notebook


@pytest.fixture(scope="module")
def quickstart(runtime):
    return run("quickstart", runtime)


def test_the_quickstart_trains_translates_and_makes_a_video(quickstart, runtime):
    shown = [output for cell in code_cells(quickstart) for output in cell.outputs]
    assert sum(map(has_picture, shown)) == 4
    assert "<video" in shown[-1].data["text/html"]
    assert "starting from step 20 of runs/quickstart" in printed(quickstart)
    assert (runtime / "runs/quickstart.mp4").is_file()


@pytest.mark.usefixtures("quickstart")
def test_the_sliders_of_sampling_change_the_picture(runtime):
    notebook = read("sampling")
    moves = new_code_cell(
        "for slider in sliders: slider.value = 1\n"
        "whole = view.value\n"
        "sliders[0].value = 0\n"
        "without_d1 = view.value\n"
        "assert without_d1 != whole\n"
        "for slider in sliders: slider.value /= 2\n"
        "assert view.value == without_d1, 'only ratios count'\n"
        "number.value = 1\n"
        "assert view.value not in (whole, without_d1)\n"
    )
    notebook.cells.append(moves)
    execute(notebook, runtime)
    assert "resumed from step 20" in printed(notebook)  # the quickstart's run is there


def test_a_run_on_cityscapes_outlives_its_runtime(runtime):
    """After a disconnect the runtime's own disk is gone, and with it what no checkpoint has."""
    write_archives(runtime)
    first = run("cityscapes_tpu", runtime)
    assert "resumed" not in printed(first)
    workdir = runtime / "drive" / "run"
    losses = losses_of(workdir)
    shutil.rmtree(runtime / "local")
    for archive in (runtime / "drive").glob("*.zip"):
        archive.unlink()  # not needed a second time
    *_, last_but_one, last = sorted(int(step.name) for step in (workdir / "checkpoints").iterdir())
    shutil.rmtree(workdir / "checkpoints" / str(last))
    second = run("cityscapes_tpu", runtime)
    assert f"resumed from step {last_but_one} in drive/run" in printed(second)
    assert losses_of(workdir) == losses


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_notebook_reads_well_unrun(file):
    assert file.stat().st_size < LARGEST
    notebook = read(file.stem)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert "error" not in {output.output_type for output in outputs}
    assert any(map(has_picture, outputs))
    texts = [printed(notebook), *(str(output.get("data", "")) for output in outputs)]
    assert [found for text in texts for found in _MACHINE_PATH.findall(text)] == []


def test_every_notebook_opens_in_colab_and_begins_alike():
    notebooks = [read(file.stem) for file in FILES]
    readme = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
    links = [
        re.search(BADGE, text)[1] for text in (readme, *(n.cells[0].source for n in notebooks))
    ]
    assert len(set(links)) == 1
    assert all(f"(colab/{file.name})" in readme for file in FILES)
    assert len({code_cells(notebook)[0].source for notebook in notebooks}) == 1


@pytest.mark.parametrize("arguments", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_passes_on_the_notebooks(arguments):
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", *map(str, FILES)]
    subprocess.run(command, check=True)
