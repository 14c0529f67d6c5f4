"""The command, and the lines of docs/export.md that run its files."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from sflow_jax.exporting import onnx_file
from tests.exporting.conftest import assert_same_pictures, frames, model, workdir  # noqa: F401
from tests.tiny_run import tiny_config, write_run

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs/export.md"
STABLEHLO_LINES, ONNX_LINES = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
WITHOUT_THE_PACKAGE = """
import numpy as np
label, cg, weights, style = np.load("frames.npz").values()
{lines}
import sys
assert not [name for name in sys.modules if name.startswith(("sflow_jax", "flax", "tensorflow"))]
np.save("pictures.npy", pictures)
"""


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "sflow_jax.export", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def pictures_of(lines, given, folder):
    np.savez(folder / "frames.npz", **vars(given))
    code = WITHOUT_THE_PACKAGE.format(lines=lines)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return np.load(folder / "pictures.npy")


def test_the_lines_of_the_page_run_stablehlo_without_the_package(workdir, model, tmp_path):  # noqa: F811
    done = command("--workdir", workdir, "--output", tmp_path / "sampler.stablehlo")
    assert done.returncode == 0, done.stderr
    assert "label: uint8 [b, h, w, 1]" in done.stdout
    given = frames(2, (24, 40))
    assert_same_pictures(pictures_of(STABLEHLO_LINES, given, tmp_path), given.expected(model))


def test_the_lines_of_the_page_run_onnx_without_the_package(workdir, model, tmp_path):  # noqa: F811
    pytest.importorskip("onnxruntime", reason=f"no onnx: {onnx_file.INSTALL}")
    done = command("--workdir", workdir, "--output", tmp_path / "sampler.onnx")
    assert done.returncode == 0, done.stderr
    assert "label: uint8 [b, 32, 40, 1]" in done.stdout
    given = frames(2, (32, 40))  # of the size of training
    assert_same_pictures(pictures_of(ONNX_LINES, given, tmp_path), given.expected(model))


def test_other_endings_are_refused_before_any_work(tmp_path):
    done = command("--workdir", tmp_path, "--output", tmp_path / "sampler.pb")
    assert done.returncode == 2
    expected = "found sampler.pb, expected a name that ends in .stablehlo or .onnx"
    assert done.stderr == f"error: --output: {expected}\n"


def test_onnx_needs_a_size_where_frames_keep_their_own(tmp_path):
    write_run(tmp_path / "run", tiny_config(**{"data.height": 0, "data.width": 0}))
    done = command("--workdir", tmp_path / "run", "--output", tmp_path / "sampler.onnx")
    assert done.returncode == 2
    assert done.stderr == (
        "error: --height, --width: found none, and frames of this run have no common size; "
        "expected both for .onnx\n"
    )
