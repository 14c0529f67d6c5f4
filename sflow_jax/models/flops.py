"""Floating-point operations of networks, counted layer by layer from the layers' shapes.

XLA counts what it compiled: on a CPU the forms in `ops.fast_convolution`, and always norms and
losses too. This count follows the definition of the networks, so it is the same on every platform
and for every implementation that is compared.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from sflow_jax.models.layers import UpsampleConv


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
