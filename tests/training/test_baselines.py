"""The baselines in the training loop: devices, and continuing bitwise."""

import jax
import numpy as np
import optax
import pytest

from configs.baselines import pix2pix, pix2pixhd, vid2vid
from sflow_jax.methods import create_method
from sflow_jax.runs.schedule import Schedule
from sflow_jax.sharding import parallelize, stack_for_devices
from sflow_jax.training.clip_step import ClipStep
from sflow_jax.training.loop import train
from sflow_jax.training.step import make_train_step
from tests.class_tables import numbered_classes
from tests.fast_jit import FAST
from tests.random_weights import random_batch, random_state

NUM_CLASSES, NUM_DEVICES = 3, 8
METHODS = {"pix2pix": pix2pix, "pix2pixhd": pix2pixhd, "vid2vid": vid2vid}


def make_config(method, num_frames=3, **changes):
    config = METHODS[method].get_config("streets")
    config.generator.width = config.discriminator.width = 2
    config.generator.num_blocks = 1
    config.generator.num_downsamplings = 5 if method == "pix2pix" else 1
    config.discriminator.num_layers = 1
    config.loss.perceptual_weight = 0.0
    if method == "vid2vid":
        config.data.frames, config.vid2vid.num_temporal_scales = 3, 1
        config.vid2vid.first_length = num_frames
    config.update_from_flattened_dict(changes)
    return config


@pytest.mark.parametrize("name", METHODS)
def test_eight_devices_take_the_step_of_one(name):
    """Also where dropout and random crops differ from example to example."""
    if len(jax.devices()) < NUM_DEVICES:
        pytest.skip(f"needs {NUM_DEVICES} devices; XLA_FLAGS was set without virtual ones")
    # One frame of a clip: after a step of Adam, rounding decides about signs.
    config, schedule = make_config(name, 1), Schedule(1, 0, 0, 10, 20, 20)
    method = create_method(config, numbered_classes(NUM_CLASSES), schedule)
    state = random_state(method, config, schedule)
    batch = random_batch((32, 32), NUM_DEVICES, NUM_CLASSES, num_frames=config.data.frames)
    batch["instance"] = batch["label"].astype(np.uint16) * 1000
    results = []
    for count in (NUM_DEVICES, 1):
        devices, batches = jax.devices()[:count], stack_for_devices(batch, method.batch_keys, count)
        if name == "vid2vid":
            step = ClipStep(method, schedule, config, devices)
        else:
            step = parallelize(make_train_step(method, schedule, config), devices)
            step = step.lower(state, {}, batches).compile(FAST)
        results.append(jax.device_get(step(state, {}, batches)))
    (found, found_metrics), (expected, expected_metrics) = results
    for key, value in expected_metrics.items():
        np.testing.assert_allclose(found_metrics[key], value, rtol=1e-4, err_msg=key)
    for field in ("optimizer_state", "discriminator_optimizer_state"):
        moments = [
            jax.tree.leaves([mu for _, mu in optax.tree.get_all_with_path(state, "mu")])
            for state in (getattr(side, field) for side in (found, expected))
        ]
        largest = max(np.abs(leaf).max() for leaf in moments[1])
        assert largest > 1e-3
        for ours, theirs in zip(*moments, strict=True):
            assert np.abs(ours - theirs).max() < 1e-5 * largest


@pytest.mark.parametrize("name", METHODS)
def test_an_interrupted_run_resumes_bitwise(name, data_dir, tmp_path):
    changes = {
        f"data.num_{split}": count
        for split, count in zip(("train", "validation", "test"), (8, 2, 2), strict=True)
    }
    changes |= {"data.data_dir": str(data_dir), "eval.every_steps": 0, "log.every_steps": 1}

    def run(folder, max_steps):
        return train(make_config(name, **changes, **{"train.max_steps": max_steps}), folder)

    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "parts", 2)
    resumed = run(tmp_path / "parts", 4)
    assert resumed.step == 4
    jax.tree.map(np.testing.assert_array_equal, *jax.device_get((whole, resumed)))
    jax.tree.map(np.testing.assert_array_equal, resumed.params, resumed.ema_params)
