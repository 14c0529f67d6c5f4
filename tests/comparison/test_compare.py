"""The command, from finished runs to a report."""

import json
import re
import subprocess
import sys

import pytest

from configs.baselines import pix2pixhd
from sflow_jax.configuration import load_config
from sflow_jax.data import images
from sflow_jax.prepare import prepare
from tests.decoded_video import decode
from tests.test_evaluate import dataset_config
from tests.tiny_run import random_frame, write_frame, write_run


def compare(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "sflow_jax.compare", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    ours = dataset_config(folder)
    baseline = pix2pixhd.get_config("streets")
    baseline.update_from_flattened_dict(
        {
            "pix2pixhd.boundaries": False,
            "generator.width": 2,
            "generator.num_blocks": 1,
            "discriminator.width": 2,
        }
    )
    baseline.data = ours.data
    baseline.train = ours.train
    runs = []
    for name, config in (("ours", ours), ("pix2pixhd", baseline)):
        for seed in range(2):
            config.seed = seed
            workdir = folder / f"{name}_{seed}"
            write_run(workdir, config, steps=(20,))
            lines = [
                {"step": step, "l1": 0.5 / step, "images_per_second": 2.0} for step in (10, 20)
            ]
            (workdir / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
            runs += ["--runs", f"{name}={workdir}"]
    output = folder / "comparison"
    finished = compare("--workdir", output, *runs)
    assert finished.returncode == 0, finished.stderr
    return folder, output, runs, finished


def test_the_report_has_all_methods_and_seeds(compared):
    _, output, _, finished = compared
    assert "report.html, report.md" in finished.stdout
    text = (output / "report.md").read_text()
    table = re.search(r"\|  \| L1 .*?\n\n", text, re.DOTALL).group()
    rows = {line.split("|")[1].strip() for line in table.splitlines()[2:] if line}
    assert rows == {
        "real images (oracle)",
        "ours",
        "ours: Laplacian, no DNED",
        "ours: labels only, no edges",
        "pix2pixhd",
        "CG frames as they are",
    }
    own = [line for line in table.splitlines() if line.startswith("| pix2pixhd |")]
    assert re.search(r"\| 0\.\d{4} \(0\.\d{4} to 0\.\d{4}\) \|", own[0])
    assert re.search(r"\| L1 \| (ours|pix2pixhd) [>~] (ours|pix2pixhd) \|", text)
    scenes = images.read_color(output / "pictures/scenes.png")
    # label, CG frame, both methods, real; five test scenes of 32x40.
    assert scenes.shape == (16 + 5 * 34, 5 * 42 - 2, 3)
    assert images.read_color(output / "pictures/curves.png").std() > 5


def test_the_page_is_one_file_that_asks_for_nothing(compared):
    _, output, *_ = compared
    page = (output / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r"""(src|href)=["'](?!data:|\#)""", page)
    assert page.count("<td>CG frames as they are</td>") == 1


def test_a_second_call_scores_nothing_again(compared):
    _, output, runs, finished = compared
    assert finished.stdout.count(": scores") == 4
    again = compare("--workdir", output, *runs)
    assert again.returncode == 0
    assert ": scores" not in again.stdout


def test_runs_on_images_are_compared_on_clips(compared, tmp_path):
    folder, _, runs, _ = compared
    source = tmp_path / "source"
    for index, seed in enumerate((5, 6, 7)):
        write_frame(source / "test/drive", f"{index:02d}", random_frame(seed))
    (source / "classes.json").write_text((folder / "source/classes.json").read_text())
    data = load_config(folder / "ours_0").data.copy_and_resolve_references()
    data.source, data.data_dir, data.frames = str(source), str(tmp_path / "data"), 3
    clips = prepare(data).directory
    output = tmp_path / "comparison"
    options = ["--dataset", clips, "--also", "edges"]
    finished = compare("--workdir", output, *runs[:2], *runs[4:6], *options)
    assert finished.returncode == 0, finished.stderr
    text = (output / "report.md").read_text()
    assert "warping error" in text
    assert "(pictures/clips.mp4)" in text
    height, width = 16 + 34, 5 * 42 - 2  # label, CG frame, both methods, real
    assert decode(output / "pictures/clips.mp4").frames.shape == (3, height, width, 3)
    assert images.read_color(output / "pictures/flows.png").shape == (height, width - 42, 3)
    # pix2pixHD sees none.
    assert [path.name for path in (output / "pictures").glob("edges_*")] == ["edges_ours_0.png"]
    page = (output / "report.html").read_text()
    assert page.count("data:video/mp4;base64,") == 1
    assert not re.search(r"""(src|href)=["'](?!data:|\#)""", page)


def test_mistakes_end_in_one_line(compared, tmp_path):
    _, _, runs, _ = compared
    for arguments, message in (
        ([], "found no runs, expected --configs or --runs"),
        (["--runs", "ours"], "--runs: found 'ours', expected NAME=WORKDIR"),
        ([*runs[:2], "--configs", "configs/streets.py"], "its data are others than those of"),
    ):
        finished = compare("--workdir", tmp_path / "out", *arguments)
        assert finished.returncode == 2
        assert message in finished.stderr
        assert "Traceback" not in finished.stderr
    assert not (tmp_path / "out").exists()
