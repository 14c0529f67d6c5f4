"""F of eq. 8: the optical flow between color images."""

import jax

from sflow_jax.ops import arguments
from sflow_jax.ops.laplacian import to_gray
from sflow_jax.ops.optical_flow import farneback


def image_flow(first: jax.Array, second: jax.Array) -> jax.Array:
    """Farneback's flow, differentiable in both images.

    Args:
        first: RGB [B, H, W, 3] in [-1, 1].
        second: the next frame, likewise.

    Returns:
        float32 [B, H, W, 2], pixels from the first image to the second, x first.
    """
    arguments.check_array("first", first, "B H W 3", "float")
    arguments.check_array("second", second, "B H W 3", "float")
    return farneback(255 * to_gray(first), 255 * to_gray(second))
