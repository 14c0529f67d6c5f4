import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.evaluation import diversity as diversity_lib
from sflow_jax.evaluation import evaluation as evaluation_lib
from sflow_jax.evaluation.diversity import measure_diversity, write_diversity
from sflow_jax.evaluation.evaluation import Choice, set_up_evaluation
from tests.as_bytes import to_uint8
from tests.test_evaluate import BY_COLOR, NUM_TEST, dataset_config
from tests.tiny_run import TABLE, restore_fast, write_run


@pytest.fixture(scope="module", params=["none", "classes"])
def evaluation(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("diversity")
    config = dataset_config(folder, **{"generator.palette": request.param})
    workdir = folder / "run"
    write_run(workdir, config)
    if request.param != "none":
        palettes = np.random.RandomState(0).uniform(-1, 1, (4, TABLE.num_classes, 3))
        np.save(workdir / "palettes.npy", palettes.astype(np.float32))
    model = restore_fast(workdir)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation_lib, "restore_model", lambda *_: model)
        evaluation = set_up_evaluation(workdir, choice=Choice(metrics=()))
    return dataclasses.replace(evaluation, segmenter=BY_COLOR)


def mean_difference(first, second):
    return np.abs(first.astype(float) - second).mean((1, 2, 3))


def test_variants_are_compared_with_each_other_and_with_real_images(evaluation):
    record = measure_diversity(evaluation, mean_difference, num_variants=3)
    model = evaluation.model
    has_styles = model.method.palettes is not None
    kinds = ["the edges that DNED draws", *(["colors", "edges and colors"] if has_styles else [])]
    assert list(record) == [*kinds, "different real images", "generated"]
    assert record["different real images"]["mean_iou"] == 1  # drawn in the classes' colors
    assert "distance" not in record["generated"]

    source = evaluation.dataset.source("test")
    expected = []
    for index in range(NUM_TEST):
        example = source[index]
        style = model.method.styles([example["name"]])
        pictures = [
            to_uint8(model.translate(example["label"], example["cg"], **drawn, **style)["image"])
            for drawn in model.method.variants(3, 0)
        ]
        expected += [mean_difference(pictures[a], pictures[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert record[kinds[0]]["distance"] == pytest.approx(np.mean(expected), abs=0.05)
    real = np.concatenate([source[index]["image"] for index in range(NUM_TEST)])
    expected = mean_difference(real, np.roll(real, -(NUM_TEST // 2), axis=0)).mean()
    assert record["different real images"]["distance"] == pytest.approx(expected)


def test_the_results_are_written_with_a_picture(evaluation, tmp_path):
    record = measure_diversity(evaluation, mean_difference, num_variants=2, limit=2)
    text = write_diversity(tmp_path, evaluation, record, 2)
    assert (tmp_path / "diversity.txt").read_text() == text
    assert "mIoU is by the nearest color" in text
    assert json.loads((tmp_path / "diversity.json").read_text())["rows"] == record
    assert (tmp_path / "diversity.png").exists()
    assert [line.split("  ")[0] for line in text.splitlines()[-2:]] == [
        "all (different real images)",
        "nothing",
    ]


def test_the_distance_ignores_the_strength_of_features_and_sums_the_slices(monkeypatch):
    class Slices:
        def apply(self, variables, images):
            return [images * scale for scale in (1.0, 5.0)]

    monkeypatch.setattr(diversity_lib.hed, "HEDFeatures", Slices)
    monkeypatch.setattr(diversity_lib.hed, "load", lambda: {"scale": jnp.ones(())})
    distance = diversity_lib.load_distance()
    first = np.zeros((2, 4, 4, 3), np.uint8)
    second = first.copy()
    second[1] = 255
    np.testing.assert_allclose(distance(first, second), [0, 2 * 4], atol=1e-5)
