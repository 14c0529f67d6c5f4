"""The package in float64, for comparisons that rounding must not blur."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np


@contextlib.contextmanager
def double_precision():
    """Runs code that names `jnp.float32` as its type of statistics and losses in float64.

    Networks take their type as an argument: build them with `dtype=jnp.float64` inside.
    """
    single = jnp.float32
    jnp.float32 = jnp.float64
    try:
        with jax.enable_x64(True):
            yield
    finally:
        jnp.float32 = single


def widen(tree):
    """The float32 arrays of a tree as float64."""

    def convert(x):
        x = np.asarray(x)
        return x.astype(np.float64) if x.dtype == np.float32 else x

    return jax.tree.map(convert, tree)
