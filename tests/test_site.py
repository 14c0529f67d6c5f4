"""The site is built without a warning, pages quote the code as it is, and their examples run."""

import os
import pathlib
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

from sflow_jax.data import labels
from sflow_jax.data.images import read_label_map
from tests.conftest import PROJECT_ROOT
from tests.fast_jit import FAST_FLAGS
from tests.tiny_run import random_frame, tiny_config, write_run

DOCS = PROJECT_ROOT / "docs"
_PYTHON = re.compile(r"^```python\n(?!# sflow_jax/)(.*?)^```", re.DOTALL | re.MULTILINE)
_SHELL = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)


def python_blocks(page):
    """The blocks of Python of a page, without what it quotes from the code."""
    return _PYTHON.findall((DOCS / page).read_text(encoding="utf-8"))


def run(*arguments):
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("furo", reason="the extra 'docs' is not installed")
    options = ["--builder", "html", "--fail-on-warning", "--keep-going", "--quiet"]
    done = run("-m", "sphinx", *options, "docs", str(tmp_path))
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "method.html").read_text(encoding="utf-8")
    assert "<math" in page
    assert 'class="toctree-l1"' in page  # the menu
    for target in re.findall(r'href="(source/[^"#]*)"', page):
        assert (tmp_path / target).is_file()


def test_what_pages_quote_is_up_to_date():
    done = run("-m", "docs.from_code", "--check")
    assert done.returncode == 0, (
        f"{done.stdout}{done.stderr}; write it with python -m docs.from_code"
    )


def set_up_getting_started():
    config = tiny_config(**{"data.num_train": 1, "data.num_validation": 0, "data.num_test": 1})
    config.data.data_dir = str(pathlib.Path("data").absolute())
    write_run(pathlib.Path("runs/streets"), config, labels.STREETS)
    return {}


def check_getting_started(names):
    assert names["picture"].shape == (1, 64, 128, 3)
    assert names["picture"].dtype == np.uint8


def set_up_sampling():
    write_run(pathlib.Path("runs/streets"), tiny_config())
    frame = random_frame(0)
    return {key: frame[key][None] for key in ("label", "cg")}


def check_sampling(names):
    assert names["pictures"].shape == names["cg"].shape
    assert 0 <= names["edges"].min() <= names["edges"].max() <= 1


def set_up_your_data():
    page = (DOCS / "your_data.md").read_text(encoding="utf-8")
    table = re.search(r"^```json\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1]
    pathlib.Path("mine").mkdir()
    pathlib.Path("mine/classes.json").write_text(table)
    classes = labels.ClassTable.from_json(pathlib.Path("mine/classes.json"))
    ids = np.random.default_rng(0).integers(0, 3, (16, 24)).astype(np.uint8)
    cv2.imwrite("colored.png", classes.colorize(ids)[..., ::-1])
    return {"ids": ids, "classes": classes}


def check_your_data(names):
    read = read_label_map(pathlib.Path("label.png"), names["classes"])
    np.testing.assert_array_equal(read[..., 0], names["ids"])


def check_api(names):
    assert float(names["edges"].mean()) == pytest.approx(0.1, abs=0.01)
    np.testing.assert_allclose(names["same"], names["flow"], atol=1e-2)


_EXAMPLES = {
    "api.md": (dict, check_api),
    "getting_started.md": (set_up_getting_started, check_getting_started),
    "sampling.md": (set_up_sampling, check_sampling),
    "troubleshooting.md": (dict, lambda names: None),
    "your_data.md": (set_up_your_data, check_your_data),
}
"""Of each page with examples: what they begin with, and what they have to make."""


def test_all_pages_with_examples_are_known():
    # Those of export.md run in tests/test_export.py, without this package.
    known = {*_EXAMPLES, "export.md"}
    assert {path.name for path in DOCS.glob("*.md") if python_blocks(path.name)} == known


@pytest.mark.parametrize("page", sorted(_EXAMPLES))
def test_python_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    set_up, check = _EXAMPLES[page]
    names = set_up()
    for block in python_blocks(page):
        exec(block, names)
    check(names)


def test_the_commands_of_getting_started_run(tmp_path):
    """As they stand there, but for the size of the config and the folder in which they run."""
    page = (DOCS / "getting_started.md").read_text(encoding="utf-8")
    blocks = [block for block in _SHELL.findall(page) if "sflow_jax." in block]
    # The page serves until it is stopped; what a run costs, tests/training has.
    blocks = [block for block in blocks if not re.search(r"sflow_jax\.demo|--dry_run", block)]
    assert "weights get" in blocks[0]  # which needs a network
    script = "set -e\n" + "".join(blocks[1:]).replace(
        "configs/streets.py", f"{PROJECT_ROOT}/configs/streets.py:tiny"
    )
    script = script.replace("python -m", f"{sys.executable} -m")
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(PROJECT_ROOT), os.environ.get("PYTHONPATH", "")]),
        "TFDS_DATA_DIR": str(tmp_path / "data"),
        "XLA_FLAGS": FAST_FLAGS,
    }
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for made in ("samples/grid.png", "variants/grid.png", "runs/streets/scores/scores.txt"):
        assert (tmp_path / made).is_file()
