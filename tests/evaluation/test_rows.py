"""Rows of a method that makes a frame from those before."""

import jax
import numpy as np
import pytest

from configs.baselines import pix2pix, vid2vid
from sflow_jax.errors import InputError
from sflow_jax.evaluation.evaluation import set_up_evaluation
from sflow_jax.evaluation.rows import make_rows
from sflow_jax.methods import create_method
from sflow_jax.prepare import prepare
from sflow_jax.runs.schedule import Schedule
from tests.class_tables import numbered_classes
from tests.random_weights import random_batch
from tests.test_evaluate import dataset_config
from tests.tiny_run import random_frame, restore_fast, write_run

NUM_FRAMES = 3


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    config = vid2vid.get_config("streets")
    config.generator.width = config.discriminator.width = 2
    config.generator.num_blocks = config.generator.num_downsamplings = 1
    config.loss.perceptual_weight = 0.0
    workdir = tmp_path_factory.mktemp("vid2vid") / "run"
    write_run(workdir, config)
    return workdir


def test_a_row_remembers_the_frames_of_a_clip(workdir):
    model = restore_fast(workdir)
    frames = [random_frame(seed) for seed in range(NUM_FRAMES)]
    batch = {
        key: np.stack([frame[key] for frame in frames])[None] for key in ("label", "cg", "image")
    }
    batch["instance"] = batch["label"].astype(np.uint16)
    batch["name"] = ["clip/0"]
    rows = make_rows(model, has_cg=True)
    found = rows["generated"](batch)
    recalled = {}
    for time in range(NUM_FRAMES):
        outputs = model.translate(
            batch["label"][:, time],
            batch["cg"][:, time],
            instance=batch["instance"][:, time],
            **recalled,
        )
        recalled = model.method.recalled(outputs)
        np.testing.assert_array_equal(found[:, time], outputs["picture"])
    alone = model.translate(
        batch["label"][:, -1], batch["cg"][:, -1], instance=batch["instance"][:, -1]
    )
    assert np.any(np.asarray(alone["picture"]) != found[:, -1])


def test_a_dataset_without_what_a_run_needs_is_named(workdir, tmp_path):
    prepared = prepare(dataset_config(tmp_path).data).directory
    with pytest.raises(InputError, match="found no instance in its examples, expected what the"):
        set_up_evaluation(workdir, dataset_directory=prepared)


def test_pairs_have_no_flow_for_a_method_that_asks_for_none():
    method = create_method(
        pix2pix.get_config("streets"), numbered_classes(3), Schedule(1, 0, 0, 2, 4, 4)
    )
    pairs = random_batch((64, 64), 1, 3, num_frames=2)
    batch = {key: pairs[key] for key in method.batch_keys}
    assert method.scene(batch, jax.random.split(jax.random.key(0), 1)).image.shape[0] == 2
