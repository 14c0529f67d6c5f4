import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from sflow_jax.data import images
from sflow_jax.errors import InputError
from sflow_jax.evaluation import evaluation as evaluation_lib
from sflow_jax.evaluation.evaluation import score, set_up_evaluation
from sflow_jax.evaluation.examples import draw_examples
from sflow_jax.evaluation.report import describe_evaluation, summarize, write_evaluation
from sflow_jax.evaluation.rows import make_rows
from sflow_jax.evaluation.segmenters import NamedSegmenter
from tests.as_bytes import to_uint8
from tests.tiny_run import (
    TABLE,
    random_frame,
    restore_fast,
    tiny_config,
    write_frame,
    write_run,
)

NUM_TEST = 5
PATTERNS = ("pattern_2", "pattern_4", "pattern_8")


def dataset_config(folder, with_cg=True, **changes):
    """A folder dataset of random frames, and the config that reads it."""
    for split, seeds in (("train", [0, 1]), ("test", range(100, 100 + NUM_TEST))):
        for seed in seeds:
            arrays = random_frame(seed)
            # Real images in the classes' colors; a segmenter by color is right about them.
            arrays["image"] = TABLE.colorize(arrays["label"][..., 0])
            if not with_cg:
                del arrays["cg"]
            write_frame(folder / "source" / split / "a", f"{seed}", arrays)
    (folder / "source/classes.json").write_text(TABLE.to_json())
    data = {"dataset": "folder", "source": str(folder / "source"), "data_dir": str(folder / "data")}
    data |= {"height": 32, "width": 40}
    return tiny_config(**{f"data.{key}": value for key, value in data.items()}, **changes)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    write_run(folder / "run", dataset_config(folder))
    return folder / "run"


@pytest.fixture(scope="module")
def model(workdir):
    return restore_fast(workdir)


def segment_by_color(pictures):
    """The scored class of the nearest color."""
    colors = np.array([c.color for c in TABLE.classes if c.eval_id is not None])
    distances = np.abs(pictures[..., None, :].astype(int) - colors).sum(-1)
    return distances.argmin(-1)


BY_COLOR = NamedSegmenter("the nearest color", segment_by_color)


@pytest.fixture
def evaluation(workdir, model, monkeypatch):
    monkeypatch.setattr(evaluation_lib, "restore_model", lambda *_: model)
    monkeypatch.setattr(evaluation_lib, "batch_size_for", lambda *_: 2)  # the last batch is padded
    monkeypatch.setattr(evaluation_lib, "load_segmenter", lambda *_: BY_COLOR)
    return set_up_evaluation(workdir)


def test_scores_are_those_of_the_pictures_that_sampling_writes(evaluation, model):
    num_examples, results = score(evaluation)
    assert num_examples == NUM_TEST
    examples = list(evaluation.dataset.source("test"))
    label = np.stack([example["label"][0] for example in examples])
    real = np.stack([example["image"][0] for example in examples])
    cg = np.stack([example["cg"][0] for example in examples])
    blank = np.zeros_like(cg)
    pictures = {
        "Oracle (real images)": real,
        "DNED edges": to_uint8(model.translate(label[:2], cg[:2])["image"]),
        "Laplacian, no DNED": to_uint8(model.translate(label[:2], cg[:2], share=0.0)["image"]),
        "labels only, no edges": to_uint8(model.translate(label[:2], blank[:2])["image"]),
        "CG frame itself": cg,
    }
    assert list(results) == list(pictures)

    _, results_of_two = score(evaluation, limit=2)
    for name, row in pictures.items():
        count = len(row)
        result = results[name] if count == NUM_TEST else results_of_two[name]
        l1 = np.abs(row / 127.5 - real[:count] / 127.5).mean()
        assert result["l1"] == pytest.approx(l1, abs=1e-4)
        true_ids = TABLE.eval_lookup[label[:count, ..., 0]]
        correct = (segment_by_color(row) == true_ids).sum()
        assert result["pixel_accuracy"] == pytest.approx(
            correct / (true_ids != 255).sum(), abs=1e-3
        )
        assert result["pixel_accuracy_with_void"] == pytest.approx(
            correct / true_ids.size, abs=1e-3
        )
    rows = [results_of_two[name]["l1"] for name in pictures]
    assert len({round(l1, 6) for l1 in rows}) == len(rows)  # no two rows show the same pictures


def test_the_shipped_segmenter_says_what_it_shares_with_what_was_trained(evaluation):
    def notes(evaluation):
        return "\n".join(describe_evaluation(evaluation, 5))

    flattered, of_little_use = "Flattered: the perceptual network", "trained at 128x64 and is of"
    assert flattered not in notes(evaluation)
    shipped = NamedSegmenter("a network", segment_by_color, is_shipped=True)
    by_relative = dataclasses.replace(evaluation, segmenter=shipped)
    assert flattered in notes(by_relative)
    assert of_little_use in notes(by_relative)
    assert "little use at 40x32" in notes(by_relative)
    config = evaluation.model.config.copy_and_resolve_references()
    config.loss.perceptual_network = "hed_vgg16"
    model = dataclasses.replace(evaluation.model, config=config)
    assert flattered not in notes(dataclasses.replace(by_relative, model=model))


def test_the_oracle_is_perfect_for_a_perfect_segmenter(evaluation):
    _, results = score(evaluation)
    oracle = results["Oracle (real images)"]
    assert oracle["l1"] == 0
    assert oracle["mean_iou"] == oracle["pixel_accuracy"] == 1
    assert oracle["class_iou"] == {"road": 1, "car": 1, "sky": 1}
    numbers, sentence = summarize(evaluation, results)
    share = results["DNED edges"]["mean_iou"]
    assert numbers == {"mean_iou_share_of_oracle": share}
    assert sentence == f"mIoU of fakes (DNED edges) is {100 * share:.1f} % of the oracle"


@pytest.mark.parametrize("oracle", [0.0, float("nan")])
def test_there_is_no_share_of_an_oracle_that_finds_nothing(evaluation, oracle):
    rows = {name: {"mean_iou": 0.1} for name in evaluation.rows}
    assert summarize(evaluation, rows | {"Oracle (real images)": {"mean_iou": oracle}}) == ({}, "")


def test_the_examples_show_every_row_and_what_the_segmenter_sees(evaluation):
    sheet = draw_examples(evaluation)
    height, width = 32, 40
    assert sheet.shape == (16 + NUM_TEST * (height + 2), 8 * (width + 2) - 2, 3)
    for index, example in enumerate(evaluation.dataset.source("test")):
        top = 16 + index * (height + 2)
        cells = [sheet[top : top + height, k * (width + 2) :][:, :width] for k in range(8)]
        np.testing.assert_array_equal(cells[0], TABLE.colorize(example["label"][0, ..., 0]))
        np.testing.assert_array_equal(cells[1], example["cg"][0])
        np.testing.assert_array_equal(cells[5], example["image"][0])
        is_scored = example["label"][0, ..., 0] != 0
        np.testing.assert_array_equal(cells[6][is_scored], cells[5][is_scored])
        seen = segment_by_color(cells[2])
        np.testing.assert_array_equal(segment_by_color(cells[7]), seen)


@pytest.mark.parametrize(
    ("edges", "dned_share", "rows"),
    [
        ("dned", 1.0, ["DNED edges", "Laplacian, no DNED", "labels only, no edges"]),
        ("dned", 0.0, ["Laplacian, no DNED", "labels only, no edges"]),
        ("laplacian", 1.0, ["Laplacian, no DNED", "labels only, no edges"]),
        ("none", 1.0, ["labels only, no edges"]),
    ],
)
def test_no_row_has_a_false_name(edges, dned_share, rows, tmp_path):
    config = tiny_config(**{"generator.edges": edges})
    write_run(tmp_path / "run", config, dned_share=dned_share)
    model = restore_fast(tmp_path / "run")
    assert list(make_rows(model, has_cg=False)) == ["Oracle (real images)", *rows]
    assert list(make_rows(model, has_cg=True))[-1] == "CG frame itself"


def test_without_cg_frames_the_leak_is_reported(tmp_path):
    config = dataset_config(tmp_path, with_cg=False)
    write_run(tmp_path / "run", config, dned_share=0.25)
    evaluation = set_up_evaluation(tmp_path / "run")
    notes = "\n".join(describe_evaluation(evaluation, 5))
    assert "Edges come from the real images themselves" in notes
    assert "not comparable" in notes
    assert "25 % DNED's" in notes
    assert evaluation.predict is None


def test_a_dataset_of_other_classes_is_refused(tmp_path):
    write_run(tmp_path / "run", dataset_config(tmp_path))
    classes = tmp_path / "source/classes.json"
    # Another name of the dataset alone is none of another class: frames of a film, for example.
    classes.write_text(TABLE.to_json().replace('"toy"', '"film"'))
    assert set_up_evaluation(tmp_path / "run").dataset.class_table.name == "film"
    first, *others = TABLE.classes
    renamed = dataclasses.replace(first, name="another")
    classes.write_text(dataclasses.replace(TABLE, classes=(renamed, *others)).to_json())
    with pytest.raises(
        InputError, match=r"found other classes than in .*run, expected the dataset"
    ):
        set_up_evaluation(tmp_path / "run")


def test_a_missing_split_is_named(workdir, evaluation):
    with pytest.raises(InputError, match=r"found the splits train, test, expected 'validation'"):
        score(set_up_evaluation(workdir, "validation"))


def test_numbers_that_are_not_defined_are_null(tmp_path):
    record = {"rows": {"a": {"mean_iou": float("nan"), "l1": 0.5}}, "seed": 0}
    write_evaluation(tmp_path / "out", record, "table\n", np.zeros((4, 4, 3), np.uint8))
    written = json.loads((tmp_path / "out/metrics.json").read_text())
    assert written == {"rows": {"a": {"mean_iou": None, "l1": 0.5}}, "seed": 0}


def test_a_kill_while_scores_are_written_leaves_the_former_ones(tmp_path, monkeypatch):
    examples = np.zeros((4, 4, 3), np.uint8)
    write_evaluation(tmp_path, {"seed": 0}, "former\n", examples)
    write = pathlib.Path.write_bytes

    def write_half(path, content):
        write(path, content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(pathlib.Path, "write_bytes", write_half)
    monkeypatch.setattr(pathlib.Path, "write_text", write_half)
    with pytest.raises(KeyboardInterrupt):
        write_evaluation(tmp_path, {"seed": 1}, "new\n", examples)
    assert json.loads((tmp_path / "metrics.json").read_bytes()) == {"seed": 0}
    assert (tmp_path / "scores.txt").read_bytes() == b"former\n"


def test_the_command_says_what_is_missing_and_records_its_run(workdir, tmp_path):
    output = tmp_path / "out"
    command = [sys.executable, "-m", "sflow_jax.evaluate", "--workdir", workdir, "--limit", "2"]
    command = [*map(str, command), "--output", str(output)]
    environment = os.environ | {"SFLOW_CACHE": str(tmp_path / "cache")}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    assert "2/2" in result.stderr
    table = (output / "scores.txt").read_text()
    assert table in result.stdout
    assert "No mIoU: there is no segmenter for 'folder' data" in table
    advice = "get them with: python -m sflow_jax.pretrained.weights get inception_v3"
    assert next(line for line in table.split("\n") if line.startswith("No FID")).endswith(advice)
    assert "No FVD: it needs sequences of at least 9 frames" in table
    assert "mIoU %" not in table
    metrics = json.loads((output / "metrics.json").read_text())
    assert (metrics["checkpoint_step"], metrics["num_examples"], metrics["seed"]) == (4, 2, 0)
    assert metrics["config"] == json.loads((workdir / "config.json").read_text())
    assert metrics["edges"] == "cg"
    assert [line.partition(":")[0] for line in metrics["missing"]] == [
        "No FID, KID, precision and recall",
        "No mIoU",
        "No FVD",
    ]
    assert all(row.keys() == {"l1", *PATTERNS} for row in metrics["rows"].values())
    for name, row in metrics["rows"].items():
        assert f"{row['l1']:.4f}" in next(line for line in table.split("\n") if name in line)
    assert images.read_color(output / "examples.png").shape[0] == 16 + 2 * 34
