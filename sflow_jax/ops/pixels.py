"""Conversion between the pixels of files, uint8 in 0..255, and of networks, float in [-1, 1]."""

import jax
import jax.numpy as jnp

from sflow_jax.ops import arguments


def to_float(image: jax.Array) -> jax.Array:
    """Converts uint8 in 0..255, of any shape, to float32 in [-1, 1]."""
    arguments.check_array("image", image, None, "uint8")
    return image.astype(jnp.float32) / 127.5 - 1


def to_uint8(image: jax.Array) -> jax.Array:
    """Converts floats in [-1, 1], of any shape, to the nearest uint8; others are clipped."""
    arguments.check_array("image", image, None, "float")
    return jnp.clip(jnp.rint((image + 1) * 127.5), 0, 255).astype(jnp.uint8)
