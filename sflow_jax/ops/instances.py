"""The instances of a scene: where they meet, and what they have in common (pix2pixHD)."""

import jax
import jax.numpy as jnp

from sflow_jax.ops import arguments

_NUM_IDS = 2**16  # all that 16 bits can hold


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


def instance_means(features: jax.Array, instance: jax.Array) -> jax.Array:
    """Gives every pixel the mean of its instance, in its image.

    Args:
        features: float [B, H, W, C].
        instance: ids, uint16 [B, H, W, 1].

    Returns:
        An array of the shape and type of `features`.
    """
    arguments.check_array("features", features, "B H W C", "float")
    arguments.check_array("instance", instance, "B H W 1", "integer")

    def of_image(values: jax.Array, ids: jax.Array) -> jax.Array:
        flat = values.reshape(-1, values.shape[-1]).astype(jnp.float32)
        ids = ids.reshape(-1).astype(jnp.int32)
        sums = jax.ops.segment_sum(flat, ids, _NUM_IDS)
        counts = jax.ops.segment_sum(jnp.ones_like(ids, jnp.float32), ids, _NUM_IDS)
        means = sums / jnp.maximum(counts, 1)[:, None]
        return means[ids].reshape(values.shape).astype(values.dtype)

    return jax.vmap(of_image)(features, instance)
