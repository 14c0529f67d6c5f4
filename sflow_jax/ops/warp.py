"""Warps images by an optical flow, and masks the pixels where the flow can be trusted."""

import jax
import jax.numpy as jnp

from sflow_jax.ops import arguments, bilinear

# Sundaram, Brox and Keutzer, "Dense point trajectories by GPU-accelerated large displacement
# optical flow" (ECCV 2010), the check that Ruder et al. and Lai et al. use too.
_RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE = 0.01, 0.5  # of squared pixels
# vid2vid's (models/flownet.py), the sum over the colors of squared differences.
_COLOR_TOLERANCE = 0.02


def warp(image: jax.Array, flow: jax.Array) -> jax.Array:
    """Samples an image bilinearly at p + flow(p); positions outside are clamped to the border.

    With the flow from frame 0 to frame 1, `warp(frame_1, flow)` looks like frame 0.

    Args:
        image: [B, H, W, C], integers or floats.
        flow: [B, H, W, 2], pixels, x first.

    Returns:
        float32 [B, H, W, C] (float64 if either is), differentiable in both in reverse mode.
    """
    arguments.check_array("image", image, "B H W C", "real")
    arguments.check_array("flow", flow, "B H W 2", "float")
    height, width = flow.shape[1:3]
    # bfloat16 would not even hold the numbers of the columns.
    dtype = jnp.promote_types(jnp.float32, jnp.promote_types(image.dtype, flow.dtype))
    x, y = _targets(flow.astype(dtype))
    x, y = jnp.clip(x, 0, width - 1), jnp.clip(y, 0, height - 1)
    return bilinear.read(image.astype(dtype), x, y)


def stays_inside(flow: jax.Array) -> jax.Array:
    """Whether p + flow(p) is inside the image: bool [B, H, W, 1] for flow [B, H, W, 2]."""
    arguments.check_array("flow", flow, "B H W 2", "float")
    height, width = flow.shape[1:3]
    x, y = _targets(flow.astype(jnp.promote_types(jnp.float32, flow.dtype)))
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1))[..., None]


def _targets(flow: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The columns and rows of p + flow(p), each [B, H, W]."""
    height, width = flow.shape[1:3]
    return jnp.arange(width) + flow[..., 0], jnp.arange(height)[:, None] + flow[..., 1]


def consistency_mask(forward: jax.Array, backward: jax.Array) -> jax.Array:
    """The pixels of frame 0 that are visible in frame 1: those to which the flows lead back.

    Args:
        forward: from frame 0 to frame 1, [B, H, W, 2], pixels, x first.
        backward: from frame 1 to frame 0, likewise.

    Returns:
        float32 [B, H, W, 1] over frame 0: 1 where |f + b(p + f)|^2 < 0.01 (|f|^2 + |b|^2) + 0.5 and
        p + f is inside the image, else 0.
    """
    arguments.check_array("forward", forward, "B H W 2", "float")
    arguments.check_array("backward", backward, "B H W 2", "float")
    forward = forward.astype(jnp.promote_types(jnp.float32, forward.dtype))
    back = warp(backward, forward)

    def squared(flow: jax.Array) -> jax.Array:
        return jnp.square(flow).sum(-1, keepdims=True)

    tolerance = _RELATIVE_TOLERANCE * (squared(forward) + squared(back)) + _ABSOLUTE_TOLERANCE
    consistent = squared(forward + back) < tolerance
    return (consistent & stays_inside(forward)).astype(jnp.float32)


def color_mask(image: jax.Array, source: jax.Array, flow: jax.Array) -> jax.Array:
    """The pixels to which the flow brings the color that they have: vid2vid's confidence in it.

    Args:
        image: [B, H, W, 3] in [-1, 1].
        source: the image, likewise, that `warp` is to make the first one from.
        flow: from `image` to `source`, [B, H, W, 2], pixels, x first.

    Returns:
        float32 [B, H, W, 1]: 1 where the squared differences of the three colors sum up to less
        than 0.02, else 0. Nothing flows back from it.
    """
    arguments.check_array("image", image, "B H W 3", "float")
    difference = image - warp(source, flow)
    squared = jnp.square(difference).sum(-1, keepdims=True)
    return (squared < _COLOR_TOLERANCE).astype(jnp.float32)
