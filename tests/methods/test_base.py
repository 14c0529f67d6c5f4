"""Another method goes where S-Flow GAN goes: training, previews, scores, sampling."""

import json

import pytest

from configs import streets
from sflow_jax import methods
from sflow_jax.data.prepared import export
from sflow_jax.errors import InputError
from sflow_jax.evaluation.evaluation import Choice, score, set_up_evaluation
from sflow_jax.evaluation.examples import draw_examples
from sflow_jax.evaluation.report import describe_evaluation
from sflow_jax.prepare import prepare
from sflow_jax.sampling.comparison import draw_grid
from sflow_jax.sampling.job import Settings, plan
from sflow_jax.sampling.translation import translate_missing
from sflow_jax.training import dry_run, loop, set_up


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory):
    """The workdir of a run of another method, and its config."""
    folder = tmp_path_factory.mktemp("toy")
    config = streets.get_test_config()
    config.data.data_dir = str(folder / "data")
    config.data.height, config.data.width = 32, 48
    config.loss.perceptual_weight = 0.0
    config.eval.every_steps = 1
    config.eval.metrics = "segmentation"
    config.train.max_steps = 1
    config.method = "toy"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(methods.METHODS, "toy", "tests.toy_method:Toy")
        loop.train(config, folder / "run")
        yield folder, config


def test_it_is_trained_previewed_and_scored(toy_run):
    folder, config = toy_run
    lines = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    metrics = lines[0] | lines[1]
    assert {"darkness", "generator/adversarial", "eval/l1", "eval/mean_iou"} <= metrics.keys()
    assert "dned_share" not in metrics
    assert list((folder / "run/pictures").glob("preview_*.png"))
    described = dry_run.describe(config)
    assert "generator" in described
    assert "DNED" not in described


def test_it_is_evaluated_in_its_own_row(toy_run):
    folder, _ = toy_run
    evaluation = set_up_evaluation(folder / "run", choice=Choice(("segmentation",)))
    _, results = score(evaluation)
    assert list(results) == ["Oracle (real images)", "generated", "CG frame itself"]
    assert results["generated"]["l1"] > 0.01
    assert not any("DNED" in line for line in describe_evaluation(evaluation, 2))
    assert draw_examples(evaluation).ndim == 3


@pytest.mark.parametrize("edges", ["auto", "none"])
def test_it_translates_folders(toy_run, edges, tmp_path):
    folder, config = toy_run
    export(prepare(config.data), tmp_path / "scenes")
    settings = Settings(
        folder / "run", tmp_path / "scenes/test", tmp_path / "out", edges=edges, grid=True
    )
    sampling = plan(settings)
    translate_missing(sampling)
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2
    assert draw_grid(sampling).ndim == 3
    two = Settings(folder / "run", tmp_path / "scenes/test", tmp_path / "more", num_variants=2)
    with pytest.raises(InputError, match="makes one version of each frame"):
        plan(two)


def test_a_run_of_another_method_is_no_start(toy_run):
    folder, config = toy_run
    other = config.copy_and_resolve_references()
    other.method, other.init_from = "sflow", str(folder / "run")
    with pytest.raises(InputError, match="method is 'sflow' and was 'toy'"):
        set_up.set_up_run(other)
