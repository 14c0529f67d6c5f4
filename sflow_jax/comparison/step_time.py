"""Measures a step, so that methods can be trained for equal times.

    python -m sflow_jax.comparison.step_time --config configs/streets.py --output FILE

It is a process of its own, as the networks of each method fill a device.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from sflow_jax import cli, compilation_cache, sharding
from sflow_jax.data.pipeline import train_iterator
from sflow_jax.files import named_path, write_json
from sflow_jax.training.cost import time_calls
from sflow_jax.training.set_up import Run, set_up_run

_NUM_STEPS = 8


def step_seconds(run: Run) -> float:
    """The median time of a step on all local devices, with a batch of the dataset."""
    num_devices = jax.local_device_count()
    step = run.parallel_step()
    # Halfway: clips of some methods get longer.
    halfway = jnp.asarray(run.schedule.num_steps // 2, jnp.int32)
    state = dataclasses.replace(run.create_state(), step=halfway)
    state, frozen = sharding.replicate((state, run.method.frozen_params))
    batch_size = run.config.train.batch_size * num_devices
    iterator = train_iterator(run.dataset.source("train"), batch_size=batch_size, seed=0)
    batch = sharding.stack_for_devices(next(iterator), run.method.batch_keys, num_devices)

    def train_once() -> object:
        nonlocal state
        state, metrics = step(state, frozen, batch)
        return metrics

    return float(np.median(time_calls(train_once, _NUM_STEPS)))


def main() -> None:
    """Writes {"seconds": ..., "steps_per_epoch": ...}."""
    output = named_path("--output", flags.FLAGS.output)
    compilation_cache.use()
    run = set_up_run(flags.FLAGS.config)
    record = {"seconds": step_seconds(run), "steps_per_epoch": run.schedule.steps_per_epoch}
    write_json(output, record)


def _define_flags() -> None:
    cli.define_config_flag()
    flags.DEFINE_string("output", None, "The JSON to write.", required=True)


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
