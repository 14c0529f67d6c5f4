"""The spatial Laplacian with a threshold: `E(x)` of eq. 4."""

import functools

import jax
import jax.numpy as jnp

from sflow_jax.ops import arguments

# ITU-R BT.601 luma, the gray conversion of OpenCV.
LUMA = (0.299, 0.587, 0.114)


def to_gray(images: jax.Array) -> jax.Array:
    """Converts RGB [B, H, W, 3] in [-1, 1] to gray [B, H, W, 1] in [0, 1]."""
    arguments.check_array("images", images, "B H W 3", "float")
    # A sum and not a product with a vector: accelerators would round a product to TF32 or bfloat16,
    # which moves pixels across the threshold.
    weights = jnp.asarray(LUMA, jnp.float32)
    return (((images.astype(jnp.float32) + 1) / 2) * weights).sum(-1, keepdims=True)


def laplacian(gray: jax.Array) -> jax.Array:
    """4-neighbor Laplacian of [B, H, W, 1], the border reflected (OpenCV's reflect-101)."""
    arguments.check_array("gray", gray, "B H W 1", "float")
    padded = jnp.pad(gray, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    vertical = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]
    horizontal = padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return vertical + horizontal - 4 * gray


@functools.partial(jax.jit, static_argnames="quantile")
def laplacian_edges(
    images: jax.Array,
    threshold: float | jax.Array = 0.1,
    quantile: float | None = None,
    threshold_scale: float | jax.Array = 1.0,
) -> jax.Array:
    """Extracts the edge map (the skeleton) of images, paper section 3.2.

    Args:
        images: float RGB [B, H, W, 3] in [-1, 1].
        threshold: pixels whose absolute Laplacian of the gray image in [0, 1] exceeds this are
            edges.
        quantile: where given, the threshold of each image is this quantile of its own absolute
            Laplacian instead, which fixes the density of its edges at `1 - quantile`.
        threshold_scale: multiplies either threshold; a number, or [B, 1, 1, 1] for one per image.

    Returns:
        float32 edge maps [B, H, W, 1], each pixel 0 or 1.
    """
    strength = jnp.abs(laplacian(to_gray(images)))
    if quantile is not None:
        threshold = jnp.quantile(strength, quantile, axis=(1, 2, 3), keepdims=True)
    return (strength > threshold * threshold_scale).astype(jnp.float32)
