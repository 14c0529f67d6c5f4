"""The memory layout that the compiler gives to arrays."""

import jax
from jax.experimental.layout import Layout, with_layout_constraint

from sflow_jax.ops import forms


def in_row_major_layout(x: jax.Array) -> jax.Array:
    """The same array of any shape, last axis contiguous, as arguments of a program are stored.

    A GPU's library gives kernel gradients in another layout. XLA would compute the whole update in
    that, and copy parameters, moments and average there and back.
    """
    return x if forms.is_plain() else with_layout_constraint(x, Layout(tuple(range(x.ndim))))
