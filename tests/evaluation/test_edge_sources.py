import dataclasses
import json

import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.evaluation import edge_sources
from sflow_jax.evaluation import evaluation as evaluation_lib
from sflow_jax.evaluation.edge_sources import (
    compare_edges,
    correlate,
    mean_of_defined,
    write_edges,
)
from sflow_jax.evaluation.evaluation import Choice, score, set_up_evaluation
from sflow_jax.evaluation.rows import CG, ORACLE
from sflow_jax.methods.base import LAPLACIAN
from sflow_jax.methods.edges import canny_edges
from tests.as_bytes import to_uint8
from tests.test_evaluate import BY_COLOR, NUM_TEST, dataset_config
from tests.tiny_run import restore_fast, write_run

NONE = "labels only, no edges"
DNED_ROWS = ["DNED edges", *(f"DNED, {name} alone" for name in ("d1", "d2", "d3", "d4"))]
DNED_ROWS += ["DNED, d5 alone", "DNED, fusion alone"]


def set_up(folder, with_cg=True, **changes):
    workdir = folder / "run"
    write_run(workdir, dataset_config(folder, with_cg, **changes))
    model = restore_fast(workdir)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation_lib, "restore_model", lambda *_: model)
        evaluation = set_up_evaluation(workdir, choice=Choice(metrics=()))
    return dataclasses.replace(evaluation, segmenter=BY_COLOR)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    return set_up(tmp_path_factory.mktemp("edges"))


@pytest.fixture(scope="module")
def compared(evaluation):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge_sources, "batch_size_for", lambda *_: 2)  # the last batch is padded
        return compare_edges(evaluation)


def test_rows_are_what_the_generator_makes_of_each_kind_of_edges(evaluation, compared):
    num_examples, results = compared
    assert num_examples == NUM_TEST
    assert list(results) == [ORACLE, *DNED_ROWS, LAPLACIAN, "Canny", NONE, CG]
    # The same pictures as those of an evaluation.
    _, usual = score(evaluation)
    assert set(usual) < set(results)
    for name, scores in usual.items():
        assert results[name].items() >= scores.items()

    l1 = []
    for index in range(NUM_TEST):
        example = evaluation.dataset.source("test")[index]
        edge_map = canny_edges(example["cg"])
        translated = evaluation.model.translate(
            example["label"], example["cg"], share=0.0, edge_map=edge_map
        )
        np.testing.assert_array_equal(translated["edge_map"], edge_map)
        picture = to_uint8(translated["image"]).astype(float)
        l1.append(np.abs(picture - example["image"]).mean() / 127.5)
    assert results["Canny"]["l1"] == pytest.approx(np.mean(l1), abs=1e-3)
    assert results["Canny"]["l1"] != pytest.approx(results[NONE]["l1"], abs=1e-4)


def test_edges_are_compared_with_those_of_the_real_frames(evaluation, compared):
    _, results = compared
    assert results[ORACLE]["edge_correlation"] == pytest.approx(1)
    assert np.isnan(results[CG]["edge_density"])
    assert results[NONE]["edge_density"] == 0
    assert np.isnan(results[NONE]["edge_correlation"])

    source, model = evaluation.dataset.source("test"), evaluation.model
    densities, correlations = [], []
    for index in range(NUM_TEST):
        example = source[index]
        label = example["label"]
        found = np.asarray(model.edge_map(label, example["cg"], weights=np.eye(6)[2]))
        real = np.asarray(model.edge_map(label, example["image"], share=0.0))
        densities.append(found.mean())
        correlations.append(np.corrcoef(found.ravel(), real.ravel())[0, 1])
    row = results["DNED, d3 alone"]
    assert row["edge_density"] == pytest.approx(np.mean(densities), rel=1e-5)
    assert row["edge_correlation"] == pytest.approx(np.mean(correlations), rel=1e-4)


def test_of_pairs_both_frames_are_scored_and_edges_of_the_first_are_described(evaluation, tmp_path):
    # The same frames as pairs of consecutive ones: the last one is never a first frame.
    pairs = set_up(tmp_path, **{"data.frames": 2, "init_from": "an image run"})
    num_examples, results = compare_edges(pairs)
    assert num_examples == NUM_TEST - 1
    edges = edge_sources._describe_edges(
        evaluation, evaluation.model.method.edge_usages(evaluation.model.controls), NUM_TEST - 1
    )
    for name, row in edges.items():
        assert results[name]["edge_density"] == pytest.approx(row["edge_density"], rel=1e-5)
    assert {"warping_error", "mean_iou"} <= set(results["Canny"])
    write_edges(tmp_path, pairs, num_examples, results)


def test_a_flat_map_correlates_with_nothing():
    random = np.random.RandomState(0).rand(2, 4, 5, 1)
    flat = np.full((2, 4, 5, 1), 0.5)
    assert np.isnan(correlate(flat, random)).all()
    np.testing.assert_allclose(correlate(random, 3 * random + 1), 1)
    np.testing.assert_allclose(correlate(random, -random), -1)


def test_one_frame_without_edges_does_not_undefine_the_mean_of_all():
    assert mean_of_defined(np.array([0.5, np.nan, 1.0])) == 0.75
    assert np.isnan(mean_of_defined(np.array([np.nan])))


def test_members_of_the_ensemble_are_alone_during_the_ramp_too(evaluation):
    usages = evaluation.model.method.edge_usages({"share": 0.4})
    assert usages["DNED edges"].controls["share"] == 0.4
    assert usages["DNED, d1 alone"].controls["share"] == 1


def test_a_generator_of_laplacian_edges_has_no_rows_of_dned(tmp_path):
    evaluation = set_up(tmp_path, with_cg=False, **{"generator.edges": "laplacian"})
    num_examples, results = compare_edges(evaluation, limit=2)
    assert num_examples == 2
    assert list(results) == [ORACLE, LAPLACIAN, "Canny", NONE]
    # Without CG frames the edges are those of the real frames.
    assert results[LAPLACIAN]["edge_correlation"] == pytest.approx(1)
    write_edges(tmp_path, evaluation, num_examples, results)


def test_canny_finds_the_border_of_a_square_and_nothing_in_a_flat_frame():
    frames = np.full((2, 16, 16, 3), 40, np.uint8)
    frames[1, 4:12, 4:12] = 200
    edges = canny_edges(frames)
    assert edges.shape == (2, 16, 16, 1)
    assert edges.dtype == np.float32
    assert not edges[0].any()
    assert set(np.unique(edges[1])) == {0, 1}
    assert not edges[1, 6:10, 6:10].any()
    assert edges[1, 7, 2:6].any()


def test_the_results_are_written_with_a_picture(evaluation, compared, tmp_path):
    text = write_edges(tmp_path, evaluation, *compared)
    assert (tmp_path / "edge_sources.txt").read_text() == text
    assert "to real edges" in text
    assert "the nearest color" in text
    rows = json.loads((tmp_path / "edge_sources.json").read_text())["rows"]
    assert rows[NONE]["edge_correlation"] is None
    assert (tmp_path / "edge_sources.png").stat().st_size > 0


def test_a_generator_that_sees_labels_only_has_nothing_to_compare(tmp_path):
    evaluation = set_up(tmp_path, **{"generator.edges": "none"})
    with pytest.raises(InputError, match="--edges: found a generator that sees labels only"):
        compare_edges(evaluation)
