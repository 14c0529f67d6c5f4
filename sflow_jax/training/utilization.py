"""How fast a device computes, and how fast it could."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

_PRODUCTS = 4  # waited for together, so that starting them does not count


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
