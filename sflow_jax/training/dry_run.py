"""Describes a run without training it: networks, parameters, FLOPs, memory, speed and steps."""

import statistics

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from clu import parameter_overview

from sflow_jax.data.pipeline import train_iterator
from sflow_jax.training.cost import matrix_limit, step_flops, time_calls
from sflow_jax.training.set_up import Run, set_up_run
from sflow_jax.training.state import TrainState


def describe(config: ml_collections.ConfigDict) -> str:
    """Describes the run of a config as text.

    Args:
        config: the whole config; its dataset is prepared if it is not yet, and its weights must be
            there, as for training.

    Raises:
        InputError: what training would report before its first step.
    """
    run = set_up_run(config)
    state = run.describe_state()
    discriminators = state.discriminator_params
    if not run.method.remembers:  # there is one, without a name
        discriminators = {"discriminator": discriminators}
    parts = [
        *(_describe_params(name, params) for name, params in state.params.items()),
        *(_describe_params(name, params) for name, params in discriminators.items()),
        _describe_step(run, state),
        _describe_schedule(run),
    ]
    return "\n\n".join(parts)


def _describe_params(name: str, params: dict) -> str:
    table = parameter_overview.get_parameter_overview(params["params"], include_stats=False)
    return f"{name}\n{table}"


def _describe_step(run: Run, state: TrainState) -> str:
    """Compiles the step of one device, and times it with a batch of the dataset."""
    batch = _first_batch(run)
    lowered = jax.jit(run.device_step(axis_name=None), donate_argnums=0).lower(
        state, run.method.frozen_params, batch
    )
    step = lowered.compile()
    memory, costs = step.memory_analysis(), lowered.cost_analysis()
    assert memory is not None
    assert costs is not None
    total = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    data, options = run.config.data, run.config.train
    height, width = run.dataset.schema.height, run.dataset.schema.width
    by_hand = step_flops(run.method, (height, width))
    shares = ", ".join(f"{name} {count / 1e9:,.1f}" for name, count in by_hand.items())
    remembers = run.method.remembers
    num_images = options.batch_size * (1 if remembers else data.frames)
    # Of what is compiled, XLA counts nothing on a GPU: convolutions are calls of a library there.
    by_xla = costs["flops"] / num_images
    kinds = {1: " x", 2: " pairs of"}
    kind = " frames of clips of" if remembers else f" clips of {data.frames} frames of"
    examples = f"{options.batch_size}{kinds.get(data.frames, kind)}"
    return (
        f"one step on one device, {examples} {width}x{height}, {options.compute_dtype}\n"
        f"  {sum(by_hand.values()) / 1e9:,.1f} GFLOP per image (the layers, forward and backward, "
        f"counted by hand: {shares})\n"
        f"  {by_xla / 1e9:,.1f} GFLOP per image (all of the step, loops once, counted by XLA)\n"
        f"  {total / 2**20:,.0f} MiB of device memory "
        f"({memory.argument_size_in_bytes / 2**20:,.0f} state and batch, "
        f"{memory.temp_size_in_bytes / 2**20:,.0f} temporary)\n"
        f"  {_describe_speed(run, step, batch, num_images * sum(by_hand.values()))}"
    )


def _first_batch(run: Run) -> dict[str, np.ndarray]:
    options = run.config.train
    iterator = train_iterator(
        run.dataset.source("train"), batch_size=options.batch_size, seed=run.config.seed
    )
    batch = next(iterator)
    return {key: batch[key] for key in run.method.batch_keys}


def _describe_speed(run: Run, step: jax.stages.Compiled, batch: dict, flops: int) -> str:
    try:
        state = run.create_state()
        frozen_params, batch = jax.device_put((run.method.frozen_params, batch))

        def train_once() -> TrainState:
            nonlocal state
            state, _ = step(state, frozen_params, batch)
            return state

        seconds = statistics.median(time_calls(train_once, 3))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return "not timed: it does not fit into the memory of this device"
    dtype = jnp.dtype(run.config.train.compute_dtype)
    limit = matrix_limit(dtype)
    return (
        f"{1e3 * seconds:,.0f} ms: {flops / seconds / 1e12:,.3g} TFLOP/s by hand, "
        f"{flops / seconds / limit:.0%} of what a product of large {dtype} matrices reaches here "
        f"({limit / 1e12:,.3g})"
    )


def _describe_schedule(run: Run) -> str:
    schedule = run.schedule
    stages = "".join(f"  {line}\n" for line in run.method.describe_stages())
    splits = ", ".join(f"{count} {split}" for split, count in run.dataset.num_examples.items())
    return (
        f"data: {run.dataset.directory}\n  examples: {splits}\n"
        f"schedule: {jax.device_count()} {jax.devices()[0].platform} device(s), "
        f"{schedule.steps_per_epoch} steps per epoch\n"
        f"{stages}"
        f"  learning rate constant to step {schedule.constant_steps}, "
        f"0 at step {schedule.decay_steps}\n"
        f"  {schedule.num_steps} steps"
    )
