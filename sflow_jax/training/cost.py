"""What a step costs: floating-point operations counted by hand, seconds, and the device's limit.

XLA counts what it compiled: on a CPU the forms in `ops.fast_convolution`, and always norms and
losses too. This count follows the definition of the networks, so it is the same on every platform
and for every implementation that is compared.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sflow_jax.methods.base import Method
from sflow_jax.models.layers import UpsampleConv

# A gradient costs as much as the forward pass once for the kernels and once for the inputs.
_TRAINED = 3
# Real and fake images go forward, and back to kernels and inputs for the discriminators' loss;
# the fake ones go back to the inputs once more for the generator's.
_DISCRIMINATED = 2 + 4 + 1
# Real and fake images go forward, the fake ones back to the inputs.
_FROZEN = 3

_PRODUCTS = 4  # waited for together, so that starting them does not count


def forward_flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Counts the multiplications and additions of all convolutions and dense layers.

    A convolution applies its whole kernel at every output pixel, a transposed one at every input
    pixel; taps that fall on padding are counted, biases, norms and nonlinearities are not.

    Args:
        function: applies modules of Flax, such as `module.apply` or `module.init`; it is traced
            and not run.
        *arguments: its arguments, arrays or `jax.ShapeDtypeStruct`s.
    """
    counts = []

    def count(next_method: Callable, inputs: tuple, options: dict, context: Any) -> Any:
        output = next_method(*inputs, **options)
        module = context.module
        if context.method_name == "__call__" and isinstance(
            module, nn.Conv | nn.Dense | UpsampleConv
        ):
            met = inputs[0] if isinstance(module, UpsampleConv) else output
            kernel = module.variables["params"]["kernel"]
            counts.append(2 * math.prod(met.shape[:-1]) * kernel.size)
        return output

    with nn.intercept_methods(count):
        # A function of its own: JAX would not trace one again that it knows.
        jax.eval_shape(lambda *arguments: function(*arguments), *arguments)
    return sum(counts)


def network_flops(method: Method, size: tuple[int, int]) -> dict[str, int]:
    """Counts one forward pass of each network for one image of `size`, height and width."""
    modules = method.networks | method.discriminators
    inputs = method.example_inputs(size)
    key = jax.random.key(0)
    return {name: forward_flops(modules[name].init, key, *inputs[name]) for name in modules}


def step_flops(method: Method, size: tuple[int, int]) -> dict[str, int]:
    """Counts the operations of a step for each image, by network.

    Args:
        method: its networks, the frozen one of its loss included.
        size: height and width.

    Returns:
        Operations per image, as `forward_flops` counts them: without the optical flow of a video
        step, and without what `remat` computes again. Gradients to the inputs of first layers are
        counted although not all of them are needed.
    """
    counts = {
        name: (_DISCRIMINATED if name in method.discriminators else _TRAINED) * count
        for name, count in network_flops(method, size).items()
    }
    if (frozen := method.perceptual_network) is not None:
        image = jax.ShapeDtypeStruct((1, *method.perceptual_size(size), 3), jnp.float32)
        counts["perceptual network"] = _FROZEN * forward_flops(
            frozen.features, frozen.params, image
        )
    return counts


def time_calls(function: Callable[[], Any], num_calls: int) -> list[float]:
    """Seconds of each call, whose arrays are waited for, after one to warm up."""
    seconds = []
    for _ in range(num_calls + 1):
        start = time.perf_counter()
        jax.block_until_ready(function())
        seconds.append(time.perf_counter() - start)
    return seconds[1:]


def matrix_limit(dtype: Any) -> float:
    """Measures the operations per second that a product of large matrices reaches here.

    It is what a step can be compared with on any device, as it knows its clock, its cooling and the
    number of its cores, which the maker's figure does not. Of float32 it is the product at JAX's
    default precision.

    Args:
        dtype: of the matrices.
    """
    side = 2048 if jax.default_backend() == "cpu" else 8192
    # Random numbers: zeros would cost a GPU less power, and let it run faster.
    factors = [jax.random.normal(jax.random.key(i), (side, side), dtype) for i in range(2)]
    multiply = jax.jit(jnp.matmul)
    seconds = time_calls(lambda: [multiply(*factors) for _ in range(_PRODUCTS)], 5)
    return _PRODUCTS * 2 * side**3 / min(seconds)
