"""Pixels of files, uint8 in 0..255, and those of networks, float32 in [-1, 1]."""

import jax
import jax.numpy as jnp

from sflow_jax.ops import arguments


def to_float(image: jax.Array) -> jax.Array:
    """uint8 in 0..255 to float32 in [-1, 1], of any shape."""
    arguments.check("image", image, None, "uint8")
    return image.astype(jnp.float32) / 127.5 - 1


def to_uint8(image: jax.Array) -> jax.Array:
    """Float in [-1, 1] to the nearest uint8 in 0..255, of any shape; what exceeds is clipped."""
    arguments.check("image", image, None, "float")
    return jnp.clip(jnp.rint((image + 1) * 127.5), 0, 255).astype(jnp.uint8)
