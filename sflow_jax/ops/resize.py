"""Resizing and pooling of feature maps to any size, as PyTorch defines them."""

import jax
import jax.numpy as jnp
import numpy as np

from sflow_jax.ops import arguments


def resize_align_corners(maps: jax.Array, height: int, width: int) -> jax.Array:
    """Bilinear resizing that maps corner pixels to corner pixels.

    PyTorch's `interpolate(mode='bilinear', align_corners=True)`; `jax.image.resize` cannot do it.

    Args:
        maps: float [B, H, W, C].
        height: of the result.
        width: of the result.

    Returns:
        [B, height, width, C].
    """
    arguments.check_array("maps", maps, "B H W C", "float")
    return _resize_axis(_resize_axis(maps, 1, height), 2, width)


def _resize_axis(maps: jax.Array, axis: int, size: int) -> jax.Array:
    old_size = maps.shape[axis]
    position = np.linspace(0, old_size - 1, size)  # of a single pixel: 0, as in PyTorch
    low = position.astype(np.int32)
    high = np.minimum(low + 1, old_size - 1)
    share = np.expand_dims((position - low).astype(maps.dtype), tuple(range(1, maps.ndim - axis)))
    return (1 - share) * jnp.take(maps, low, axis) + share * jnp.take(maps, high, axis)


def adaptive_average_pool(maps: jax.Array, bins: int) -> jax.Array:
    """Averages over `bins` x `bins` windows of nearly equal size, which overlap or touch.

    PyTorch's `AdaptiveAvgPool2d`: window i of n pixels is floor(i n / bins) .. ceil((i + 1) n /
    bins), so that neighbors share a pixel where the side does not divide.

    Args:
        maps: float [B, H, W, C].
        bins: windows along each axis.

    Returns:
        [B, bins, bins, C].
    """
    arguments.check_array("maps", maps, "B H W C", "float")
    rows, columns = (_window_shares(n, bins).astype(maps.dtype) for n in maps.shape[1:3])
    return jnp.einsum("ih,jw,bhwc->bijc", rows, columns, maps, precision="highest")


def _window_shares(size: int, bins: int) -> np.ndarray:
    """The weight of every pixel in each window's average, [bins, size]."""
    edges = np.arange(bins + 1) * size
    starts, ends = edges[:-1] // bins, -(-edges[1:] // bins)
    pixels = np.arange(size)
    inside = (pixels >= starts[:, None]) & (pixels < ends[:, None])
    return inside / inside.sum(1, keepdims=True)
