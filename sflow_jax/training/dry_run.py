"""Describes a run without training it: networks, parameters, FLOPs, memory and steps."""

import jax
import jax.numpy as jnp
import ml_collections
from clu import parameter_overview

from sflow_jax.training.flops import step_flops
from sflow_jax.training.loop import Run, set_up
from sflow_jax.training.scene import batch_keys
from sflow_jax.training.state import TrainState, initial_state


def describe(config: ml_collections.ConfigDict) -> str:
    """Describes the run of a config as text.

    Args:
        config: the whole config; its dataset is prepared if it is not yet, and its weights must be
            there, as for training.

    Raises:
        InputError: what training would report before its first step.
    """
    run = set_up(config)
    state = jax.eval_shape(lambda: initial_state(run.networks, run.config, run.schedule))
    parts = [
        _describe_params("generator", state.params["generator"]),
        _describe_params("DNED", state.params["dned"]),
        _describe_params("discriminators", state.discriminator_params),
        _describe_step(run, state),
        _describe_schedule(run),
    ]
    return "\n\n".join(parts)


def _describe_params(name: str, params: dict) -> str:
    table = parameter_overview.get_parameter_overview(params["params"], include_stats=False)
    return f"{name}\n{table}"


def _describe_step(run: Run, state: TrainState) -> str:
    data, batch_size = run.config.data, run.config.train.batch_size
    schema = run.dataset.schema
    batch = {
        key: jax.ShapeDtypeStruct(
            (batch_size, *schema.shape(key)), jnp.float16 if key == "flow" else jnp.uint8
        )
        for key in batch_keys(data.frames)
    }
    step = jax.jit(run.device_step(axis_name=None), donate_argnums=0)
    lowered = step.lower(state, run.perceptual_params, batch)
    # Of what is compiled, XLA counts nothing on a GPU: convolutions are calls of a library there.
    flops = lowered.cost_analysis()["flops"] / (batch_size * data.frames)
    memory = lowered.compile().memory_analysis()
    total = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    examples = f"{batch_size}{' pairs of' if data.frames == 2 else ' x'}"
    by_hand = step_flops(
        run.networks, run.perceptual_network, run.config, (schema.height, schema.width)
    )
    shares = ", ".join(f"{name} {count / 1e9:,.1f}" for name, count in by_hand.items())
    return (
        f"one step on one device, {examples} {schema.width}x{schema.height}, "
        f"{run.config.train.compute_dtype}\n"
        f"  {sum(by_hand.values()) / 1e9:,.1f} GFLOP per image (the layers, forward and backward, "
        f"counted by hand: {shares})\n"
        f"  {flops / 1e9:,.1f} GFLOP per image (all that the step does, counted by XLA)\n"
        f"  {total / 2**20:,.0f} MiB of device memory "
        f"({memory.argument_size_in_bytes / 2**20:,.0f} state and batch, "
        f"{memory.temp_size_in_bytes / 2**20:,.0f} temporary)"
    )


def _describe_schedule(run: Run) -> str:
    schedule = run.schedule
    splits = ", ".join(f"{count} {split}" for split, count in run.dataset.num_examples.items())
    return (
        f"data: {run.dataset.directory}\n  examples: {splits}\n"
        f"schedule: {jax.device_count()} {jax.devices()[0].platform} device(s), "
        f"{schedule.steps_per_epoch} steps per epoch\n"
        f"  Laplacian edges to step {schedule.laplacian_steps}, "
        f"DNED edges from step {schedule.laplacian_steps + schedule.ramp_steps}\n"
        f"  learning rate constant to step {schedule.constant_steps}, "
        f"0 at step {schedule.decay_steps}\n"
        f"  {schedule.num_steps} steps"
    )
