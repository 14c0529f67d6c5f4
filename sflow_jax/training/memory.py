"""Whether a run fits into the memory of its devices, found before anything is compiled."""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from sflow_jax.data.example import Schema
from sflow_jax.errors import InputError
from sflow_jax.machine import GIB, memory_bytes
from sflow_jax.methods.base import Method
from sflow_jax.models.layers import UpsampleConv
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.state import describe_state


def check_run_memory(
    config: ml_collections.ConfigDict, method: Method, schedule: Schedule, schema: Schema
) -> None:
    """Checks that what a step certainly needs is not more than there is.

    Counted are networks, averages, optimizers and gradients, and for each image the outputs of the
    convolutions of the generator's player, which wait for the gradient. A step needs more, two to
    four times as much as a rule: what passes may still not fit.

    Args:
        config: the whole config.
        method: its networks.
        schedule: the run in steps.
        schema: of the examples.

    Raises:
        InputError: it does not fit.
    """
    state = describe_state(method, config, schedule)
    size = (schema.height, schema.width)
    # A method that remembers makes one frame of each clip in a step.
    images = config.train.batch_size * (1 if method.remembers else schema.frames)
    networks = _bytes_of(state) + _bytes_of(state.params)
    kept = 0 if config.generator.remat else images * kept_bytes(method, size)
    needed, available = (networks + kept) / GIB, device_bytes() / GIB
    if needed > available:
        raise InputError(
            f"config: a step needs more than {needed:,.0f} GiB of memory (networks and optimizers "
            f"{networks / GIB:,.1f}, {images:,} images of {size[1]}x{size[0]} {kept / GIB:,.1f}), "
            f"found {available:,.1f} GiB; expected a smaller generator.width, train.batch_size or "
            "data.height and width"
        )


def kept_bytes(method: Method, size: tuple[int, int]) -> int:
    """Bytes of the outputs of all convolutions of the generator's player for one image."""
    counts: list[int] = []

    def count(next_method: Callable, inputs: tuple, options: dict, context: Any) -> Any:
        output = next_method(*inputs, **options)
        if context.method_name == "__call__" and isinstance(context.module, nn.Conv | UpsampleConv):
            counts.append(_bytes_of(output))
        return output

    arguments = method.example_inputs(size)
    with nn.intercept_methods(count):
        for name, module in method.networks.items():
            # A function of its own: JAX would not trace one again that it knows.
            jax.eval_shape(functools.partial(module.init), jax.random.key(0), *arguments[name])
    return sum(counts)


def device_bytes() -> int:
    """Memory of a device; several that share the machine's have a part of it each."""
    device = jax.local_devices()[0]
    statistics = device.memory_stats() if device.platform != "cpu" else None
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"]
    return memory_bytes() // jax.local_device_count()


def _bytes_of(tree: Any) -> int:
    return sum(
        math.prod(leaf.shape) * jnp.dtype(leaf.dtype).itemsize
        for leaf in jax.tree.leaves(tree)
        if jnp.issubdtype(leaf.dtype, jnp.number)
    )
