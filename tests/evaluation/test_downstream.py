import json
import re

import jax
import numpy as np
import pytest

from sflow_jax.data.labels import VOID
from sflow_jax.errors import InputError
from sflow_jax.evaluation import downstream as downstream_lib
from sflow_jax.evaluation import evaluation as evaluation_lib
from sflow_jax.evaluation.downstream import (
    Downstream,
    format_downstream,
    train_and_score,
    write_results,
)
from sflow_jax.evaluation.evaluation import Choice, set_up_evaluation
from sflow_jax.segmentation.unet import UNet
from tests.as_bytes import to_uint8
from tests.fast_jit import fast_jit
from tests.test_evaluate import NUM_TEST, dataset_config
from tests.tiny_run import TABLE, restore_fast, write_run

SETS = ["real frames", "CG frames", "generated frames", "generated and real frames"]


def set_up_run(folder, **options):
    write_run(folder / "run", dataset_config(folder, **options))
    model = restore_fast(folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation_lib, "restore_model", lambda *_: model)
        return set_up_evaluation(folder / "run", choice=Choice(metrics=()))


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return set_up_run(tmp_path_factory.mktemp("downstream"))


@pytest.fixture
def trainings(monkeypatch):
    """Replaces the training by one that only keeps what it was given; scores count the calls."""
    calls = []

    def train(iterators, table, weights, *, num_steps, seed, progress):
        batch = [next(iterators[0]) for _ in range(num_steps)]
        calls.append((seed, *map(np.concatenate, zip(*batch, strict=True))))
        return {"call": len(calls)}

    monkeypatch.setattr(downstream_lib, "train_unet", train)
    keys = ("mean_iou", "pixel_accuracy", "pixel_accuracy_with_void")
    monkeypatch.setattr(
        downstream_lib, "_score", lambda _, variables: dict.fromkeys(keys, variables["call"] / 100)
    )
    monkeypatch.setattr(downstream_lib, "_PIXELS_PER_BATCH", 1)  # a frame per step
    return calls


def test_every_set_is_trained_on_its_own_frames_with_the_same_labels(
    evaluation, trainings, tmp_path
):
    record = train_and_score(Downstream(evaluation, tmp_path, num_steps=4, num_seeds=2))
    example = evaluation.dataset.source("train")[0]
    model = evaluation.model
    generated = to_uint8(model.translate(example["label"], example["cg"])["image"])[0]
    frames = {"real": example["image"][0], "CG": example["cg"][0], "generated": generated}
    assert list(record["scores"]) == SETS
    assert [seed for seed, *_ in trainings] == [0, 1] * 4
    for (_, images, labels), name in zip(trainings, np.repeat(SETS, 2), strict=True):
        expected = [picture for key, picture in frames.items() if key in name]
        for image in images:
            assert any(np.array_equal(image, picture) for picture in expected)
        for picture in expected:
            assert any(np.array_equal(image, picture) for image in images)
        assert all(np.array_equal(label, example["label"][0, ..., 0]) for label in labels)


def test_an_interrupted_comparison_goes_on_with_the_next_training(
    evaluation, trainings, tmp_path, monkeypatch
):
    comparison = Downstream(evaluation, tmp_path, num_steps=1, num_seeds=2)
    score = downstream_lib._score
    monkeypatch.setattr(
        downstream_lib, "_score", lambda *a: 1 / 0 if len(trainings) == 4 else score(*a)
    )
    with pytest.raises(ZeroDivisionError):
        train_and_score(comparison)
    monkeypatch.setattr(downstream_lib, "_score", score)
    record = train_and_score(comparison)
    assert len(trainings) == 9  # the fourth once more
    found = [scores["mean_iou"] for row in record["scores"].values() for scores in row]
    assert found == [call / 100 for call in (1, 2, 3, 5, 6, 7, 8, 9)]

    text = write_results(comparison, record)
    assert re.search(r"\ngenerated frames +6.5 \(6.0-7.0\)", text)
    assert (tmp_path / "downstream.txt").read_text() == text
    assert json.loads((tmp_path / "downstream.json").read_text())["scores"] == record["scores"]
    assert not list(tmp_path.rglob("*.npy"))  # translations can be large

    other = Downstream(evaluation, tmp_path, num_steps=2, num_seeds=2)
    with pytest.raises(InputError, match="scores of another comparison"):
        train_and_score(other)


def test_the_scores_are_of_real_frames_of_the_scoring_split(evaluation):
    source = evaluation.dataset.source("test")
    pictures = np.concatenate([source[index]["image"] for index in range(NUM_TEST)])
    true_ids = np.concatenate([source[index]["label"][..., 0] for index in range(NUM_TEST)])
    network = UNet(TABLE.num_eval_classes)
    variables = fast_jit(network.init)(jax.random.key(0), np.zeros((1, 32, 32, 3)))
    scores = downstream_lib._score(evaluation, variables)
    predicted = fast_jit(network.apply)(variables, pictures / np.float32(127.5) - 1).argmax(-1)
    true_ids = TABLE.eval_lookup[true_ids]
    accuracy = (predicted == true_ids)[true_ids != VOID].mean()
    assert scores["pixel_accuracy"] == pytest.approx(float(accuracy), abs=2e-3)


def test_without_cg_frames_there_is_no_such_row(trainings, tmp_path):
    comparison = Downstream(set_up_run(tmp_path, with_cg=False), tmp_path / "out", 1, 1)
    record = train_and_score(comparison)
    assert list(record["scores"]) == [SETS[0], *SETS[2:]]
    assert "This dataset has no CG frames." in write_results(comparison, record)


def test_the_training_split_cannot_score(evaluation, tmp_path):
    on_train = downstream_lib.dataclasses.replace(evaluation, split="train")
    with pytest.raises(InputError, match="expected frames no training sees"):
        train_and_score(Downstream(on_train, tmp_path, 1, 1))


def test_the_table_shows_mean_and_range():
    scores = [{"mean_iou": value, "pixel_accuracy": 0.5, "pixel_accuracy_with_void": 0.25}
              for value in (0.1, 0.4)]  # fmt: skip
    lines = format_downstream({"scores": {"real frames": scores}}).splitlines()
    ranges = ["25.0 (10.0-40.0)", "50.0 (50.0-50.0)", "25.0 (25.0-25.0)"]
    assert [cell.strip() for cell in lines[1].split("  ") if cell] == ["real frames", *ranges]
