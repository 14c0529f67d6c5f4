"""How steady a video is: what two consecutive frames say of it.

Below, x_0 and x_1 are frames with intensities in [0, 1], f is a flow from x_0 to x_1 in pixels,
W(x, f)(p) = x(p + f(p)), and M is 1 at the pixels p of x_0 whose point is seen in x_1 too and 0
elsewhere. A mean over a set of pairs weighs every visible pixel alike.
"""

import jax
import jax.numpy as jnp

from sflow_jax.ops.warp import warp


def warping_error(
    first: jax.Array, second: jax.Array, flow: jax.Array, visible: jax.Array
) -> jax.Array:
    """`sum M (W(x_1, f) - x_0)^2 / sum M`, the mean over channels; 0 is best.

    The E_warp of Lai et al., "Learning Blind Video Temporal Consistency" (ECCV 2018), with the flow
    of the real frames.

    Args:
        first: x_0, [B, H, W, C] in [0, 1].
        second: x_1, likewise.
        flow: f, [B, H, W, 2].
        visible: M, [B, H, W, 1].

    Returns:
        A scalar; 0 where nothing is visible.
    """
    return _visible_mean(jnp.square(warp(second, flow) - first), visible)


def flicker(first: jax.Array, second: jax.Array, flow: jax.Array, visible: jax.Array) -> jax.Array:
    """`sum M |W(x_1, f) - x_0| / sum M` along the exact flow, the mean over channels; 0 is best.

    Arguments as for `warping_error`, with the simulator's exact flow and visibility.
    """
    return _visible_mean(jnp.abs(warp(second, flow) - first), visible)


def end_point_error(
    flow: jax.Array, reference: jax.Array, visible: jax.Array | None = None
) -> jax.Array:
    """`sum M |f - r|_2 / sum M`, pixels; 0 is best.

    Args:
        flow: f, [B, H, W, 2], pixels.
        reference: r, likewise.
        visible: M, [B, H, W, 1]; all pixels by default.
    """
    distance = jnp.linalg.norm(flow - reference, axis=-1, keepdims=True)
    return _visible_mean(distance, jnp.ones_like(distance) if visible is None else visible)


def _visible_mean(error: jax.Array, visible: jax.Array) -> jax.Array:
    error = error.astype(jnp.float32).mean(-1, keepdims=True)
    return (visible * error).sum() / jnp.maximum(visible.sum(), 1)
