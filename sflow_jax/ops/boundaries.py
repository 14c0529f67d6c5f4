"""Boundaries between the instances of a scene, which pix2pixHD shows its networks."""

import jax
import jax.numpy as jnp

from sflow_jax.ops import arguments


def instance_boundaries(instance: jax.Array) -> jax.Array:
    """Marks the pixels whose left, right, upper or lower neighbor has another id.

    A boundary is two pixels wide, one on either side, as in `get_edges` of pix2pixHD.

    Args:
        instance: ids of instances, any integer type, [B, H, W, 1].

    Returns:
        float32 [B, H, W, 1] in {0, 1}.
    """
    arguments.check_array("instance", instance, "B H W 1", "integer")
    marked = jnp.zeros(instance.shape, bool)
    for axis in (1, 2):
        first = jax.lax.slice_in_dim(instance, 0, -1, axis=axis)
        second = jax.lax.slice_in_dim(instance, 1, None, axis=axis)
        differs = first != second
        border = [(0, 0)] * 4
        for border[axis] in ((0, 1), (1, 0)):
            marked |= jnp.pad(differs, border)
    return marked.astype(jnp.float32)
