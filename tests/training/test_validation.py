"""Evaluations during training: the numbers of `evaluate`, at no cost to the run."""

import dataclasses
import logging

import jax
import numpy as np
import pytest

from sflow_jax import sharding
from sflow_jax.errors import InputError
from sflow_jax.evaluation import evaluation
from sflow_jax.inference import create_model
from sflow_jax.pretrained import streets_segmenter
from sflow_jax.training import loop, set_up
from sflow_jax.training.validation import Validation
from tests.random_weights import random_state

ALL = "segmentation, frechet_streets"


def evaluated(config, **options):
    """The config of a run that is evaluated."""
    config.eval.update({"every_steps": 8, "metrics": ALL, **options})
    return config


def test_the_scores_are_those_of_evaluate_and_nothing_is_loaded_or_compiled_again(
    config, monkeypatch, caplog
):
    loads = []
    load = streets_segmenter.load
    monkeypatch.setattr(streets_segmenter, "load", lambda role: loads.append(role) or load(role))
    monkeypatch.setattr(evaluation, "batch_size_for", lambda *_: 2)
    run = set_up.set_up_run(evaluated(config))
    schedule = dataclasses.replace(run.schedule, laplacian_steps=8, ramp_steps=4)
    method = dataclasses.replace(run.method, schedule=schedule)
    validation = Validation(run.dataset, method, schedule, run.config)
    loads.clear()
    found = {}
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        for seed, step in enumerate((8, 16)):
            caplog.clear()
            # The first is in the stage of Laplacian edges, the second in that of DNED's.
            state = random_state(method, config, run.schedule, seed)
            # Nothing but the average may be used.
            state = state.replace(step=np.int32(step), params={})
            state = sharding.replicate(state)
            found[step] = state, validation.score(state)
            compiled = [line for line in caplog.messages if line.startswith("Compiling ")]
            assert bool(compiled) == (step == 8), compiled
    assert not loads

    for step, row in ((8, "Laplacian, no DNED"), (16, "DNED edges")):
        state, scores = found[step]
        params = jax.device_get(state.ema_params)
        table = run.dataset.class_table
        model = create_model(config, table, method, "").at_step(step, params)
        assert model.controls == {"share": float(step > 8)}
        choice = evaluation.Choice(ALL.split(", "))
        _, results = evaluation.score(
            evaluation.assemble(model, run.dataset, "validation", choice, 2), 2
        )
        expected = results[row]
        classes = expected.pop("class_iou")
        expected |= {f"class_iou/{name}": iou for name, iou in classes.items() if iou == iou}
        assert scores == pytest.approx({f"eval/{name}": x for name, x in expected.items()})
        assert {"eval/l1", "eval/mean_iou", "eval/frechet_streets"} <= scores.keys()
    assert found[8][1]["eval/l1"] != found[16][1]["eval/l1"]


def test_evaluations_are_every_so_many_steps_and_at_the_end(config):
    config.train.epochs = 20 * jax.device_count() / config.data.num_train
    run = set_up.set_up_run(evaluated(config, metrics="segmentation"))
    assert [step for step in range(1, 21) if run.validation.is_due(step)] == [8, 16, 20]
    config.eval.every_steps = 0
    assert set_up.set_up_run(config).validation is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": "fvd"}, r"config\.eval\.metrics: found 'fvd', expected names among fid,"),
        ({"metrics": "fid"}, r"No FID.*inception_v3 are not there; get them with:.* get incep"),
        ({"num_examples": 0}, r"config\.eval\.num_examples: found 0, expected 1 to 1,000,000,000"),
        ({"every_steps": -1}, r"config\.eval\.every_steps: found -1, expected 0 to 2,147,483,647"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_the_run_begins(
    config, tmp_path, monkeypatch, options, message
):
    monkeypatch.setenv("SFLOW_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(set_up, "prepare", lambda _: pytest.fail("prepared the data first"))
    with pytest.raises(InputError, match=message) as error:
        loop.train(evaluated(config, **options), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_dataset_without_validation_examples_is_refused(config, tmp_path, monkeypatch):
    whole = set_up.prepare(config.data)
    train_only = dataclasses.replace(whole, num_examples={"train": 8, "validation": 0})
    monkeypatch.setattr(set_up, "prepare", lambda _: train_only)
    expected = "found examples for train, expected some for validation as config.eval.every_steps"
    with pytest.raises(InputError, match=expected):
        loop.train(evaluated(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()
