"""Farneback's optical flow, differentiable in both images: the F of eq. 8.

G. Farneback, "Two-Frame Motion Estimation Based on Polynomial Expansion" (SCIA 2003), with the
choices of `cv2.calcOpticalFlowFarneback` and its box window, whose numbers it reproduces. Near each
pixel both images are approximated by a quadratic polynomial; the displacement that carries the
first's polynomials to the second's is averaged over a window, and refined from coarse to fine.

Blur, shrinking, polynomial expansion and averaging, each with its treatment of the border, are
linear and separable. Along one axis each is a banded matrix, which is computed in float64 when the
operator is traced.

Internally, arrays are [N, B, H, W], where N counts the values of each pixel: two for the flow, five
for a polynomial.
"""

import functools
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import csr_array

from sflow_jax.ops import arguments, banded, bilinear, forms

_SMALLEST_SIDE = 32  # pixels; levels that would be smaller are left out
_BORDER_WEIGHTS = (0.14, 0.14, 0.4472, 0.4472, 0.4472)  # of the pixels next to the border
_REGULARIZATION = 1e-3  # of the determinant


@functools.partial(
    forms.jit,
    static_argnames=(
        "pyr_scale", "levels", "winsize", "iterations", "poly_n", "poly_sigma",
    ),
)  # fmt: skip
def farneback(
    prev: jax.Array,
    next: jax.Array,
    *,
    pyr_scale: float = 0.5,
    levels: int = 3,
    winsize: int = 15,
    iterations: int = 3,
    poly_n: int = 5,
    poly_sigma: float = 1.2,
) -> jax.Array:
    """Estimates the motion from one image to the next.

    The same numbers as `cv2.calcOpticalFlowFarneback(prev, next, None, pyr_scale, levels, winsize,
    iterations, poly_n, poly_sigma, 0)`. The gradient, in reverse mode, goes through all levels and
    iterations.

    Args:
        prev: gray images in 0..255, floats or whole numbers [B, H, W, 1], of any size.
        next: the following images, likewise.
        pyr_scale: size of each level of the pyramid relative to the one below, in (0, 1).
        levels: number of pyramid levels above the images themselves.
        winsize: side of the averaging window in pixels; larger is smoother and more robust. Below
            11 the equations of some pixels of real frames are so ill-conditioned that OpenCV's
            rounding and ours lead to other displacements there; float64 differs as much.
        iterations: number of iterations at each level.
        poly_n: radius of the neighborhood that the polynomials approximate, in pixels.
        poly_sigma: standard deviation of its Gaussian weights, in pixels; 0 for 0.3 `poly_n`.

    Returns:
        float32 [B, H, W, 2] (float64 for float64 images): the point at p in `prev` is at p + flow
        in `next`, in pixels, x first.

    Raises:
        TypeError: the images are neither floats nor whole numbers.
        ValueError: the images are not gray, differ in shape or are empty; or a parameter is one
            that OpenCV refuses too, or a window of 1, with which OpenCV reads past its sums.
    """
    _check(prev, next, pyr_scale, levels, winsize, iterations, poly_n)
    dtype = jnp.promote_types(jnp.float32, prev.dtype)
    images = jnp.concatenate([prev, next]).astype(dtype)[None, ..., 0]  # [1, 2 B, H, W]
    sides = images.shape[2:]
    flow = None
    for level in reversed(range(_num_levels(sides, pyr_scale, levels) + 1)):
        scale = pyr_scale**level
        size = tuple(round(side * scale) for side in sides)
        # From the images straight to the kernels' answers at this level, per axis.
        kernels = [
            [
                kernel @ _resizing(to, side) @ _blur(side, scale)
                for kernel in _expansion_kernels(to, poly_n, poly_sigma)
            ]
            for to, side in zip(size, sides, strict=True)
        ]
        first, second = jnp.split(_polynomial_expansion(images, *kernels), 2, axis=1)
        if flow is None:
            flow = jnp.zeros_like(first[:2])
        else:
            enlarging = [_resizing(to, side) for to, side in zip(size, flow.shape[2:], strict=True)]
            flow = _apply(enlarging, flow) / pyr_scale
        window = [_box(side, winsize) for side in size]
        for _ in range(iterations):
            flow = _update_flow(first, second, flow, window)
    assert flow is not None  # there is a level at least, that of the images
    return jnp.moveaxis(flow, 0, -1)


def _check(
    prev: jax.Array,
    next: jax.Array,
    pyr_scale: float,
    levels: int,
    winsize: int,
    iterations: int,
    poly_n: int,
) -> None:
    arguments.check_array("prev", prev, "B H W 1", "real")
    arguments.check_array("next", next, "B H W 1", "real")
    arguments.check_equal_shapes(prev=prev, next=next)
    if not prev.size:
        raise ValueError(f"prev: found {list(prev.shape)}, expected at least one pixel")
    if not 0 < pyr_scale < 1:
        raise ValueError(f"pyr_scale must be between 0 and 1, not {pyr_scale}")
    given = {"levels": levels, "winsize": winsize, "iterations": iterations, "poly_n": poly_n}
    smallest = {"levels": 0, "winsize": 2, "iterations": 1, "poly_n": 1}
    for name, value in given.items():
        if value < smallest[name]:
            raise ValueError(f"{name} must be at least {smallest[name]}, not {value}")


def _num_levels(sides: Sequence[int], pyr_scale: float, levels: int) -> int:
    """How many levels on top of the images do not get too small."""
    for level in range(1, levels + 1):
        if min(sides) * pyr_scale**level < _SMALLEST_SIDE:
            return level - 1
    return levels


def _apply(operators: Sequence[csr_array], images: jax.Array) -> jax.Array:
    """Applies [h, H] down the columns and [w, W] along the rows of [..., H, W]: [..., h, w]."""
    rows, columns = operators
    flat = images.reshape(1, -1, *images.shape[-2:])
    flat = banded.along_rows([[columns]], banded.down_columns([[rows]], flat))
    return flat.reshape(*images.shape[:-2], *flat.shape[-2:])


def _correlation(kernel: np.ndarray, side: int, border: Literal["reflect", "edge"]) -> csr_array:
    """[side, side]: correlates with a kernel of odd length; see `np.pad` for the border."""
    read = np.pad(np.arange(side), len(kernel) // 2, mode=border)
    read = np.lib.stride_tricks.sliding_window_view(read, len(kernel))
    rows = np.repeat(np.arange(side), len(kernel))
    return csr_array((np.tile(kernel, side), (rows, read.ravel())), (side, side))


def _blur(side: int, scale: float) -> csr_array:
    """[side, side]: what OpenCV blurs with before it shrinks to `scale`; it does so at 1 too."""
    sigma = (1 / scale - 1) / 2
    length = max(round(5 * sigma) | 1, 3)
    offsets = np.arange(length) - length // 2
    # OpenCV has a fixed kernel for a sigma of 0.
    kernel = np.exp(-(offsets**2) / (2 * sigma**2)) if sigma else np.array([1.0, 2.0, 1.0])
    return _correlation(kernel / kernel.sum(), side, "reflect")


def _resizing(to: int, side: int) -> csr_array:
    """[to, side]: linear, without antialiasing, pixel centers at halves, the border replicated."""
    position = np.clip((np.arange(to) + 0.5) * (side / to) - 0.5, 0, side - 1)
    below = position.astype(int)
    above = np.minimum(below + 1, side - 1)
    rows, share = np.arange(to), position - below
    entries = np.r_[1 - share, share], (np.r_[rows, rows], np.r_[below, above])
    return csr_array(entries, (to, side))


def _box(side: int, winsize: int) -> csr_array:
    """[side, side]: the sum over a window divided by `winsize`, the border replicated."""
    return _correlation(np.full(2 * (winsize // 2) + 1, 1 / winsize), side, "edge")


def _expansion_kernels(side: int, n: int, sigma: float) -> list[csr_array]:
    """Three of [side, side]: what finds the mean, the slope and the curvature around each pixel.

    They solve the weighted least-squares fit of 1, x, y, x^2, y^2 and xy, which is separable: the
    curvature also takes off what the mean has of x^2.
    """
    x = np.arange(-n, n + 1)
    sigma = sigma or 0.3 * n
    weight = np.exp(-(x**2) / (2 * sigma**2))
    weight /= weight.sum()
    second, fourth = ((weight * x**power).sum() for power in (2, 4))
    # Of 1, x^2 and y^2, the only functions of the six that are not orthogonal.
    gram = np.array([[1, second, second], [second, fourth, second**2], [second, second**2, fourth]])
    of_constant, of_square, _ = np.linalg.inv(gram)[1]
    kernels = (weight, weight * x / second, weight * (of_constant + of_square * x**2))
    return [_correlation(kernel, side, "edge") for kernel in kernels]


def _polynomial_expansion(
    images: jax.Array, rows: Sequence[csr_array], columns: Sequence[csr_array]
) -> jax.Array:
    """Fits a quadratic polynomial around each pixel of a level of the pyramid.

    Args:
        images: [1, B, H, W], at full size.
        rows: mean, slope and curvature along y at the level, each [h, H].
        columns: likewise along x, each [w, W].

    Returns:
        [5, B, h, w], of `x^T A x + b^T x`: b_y, b_x, A_yy, A_xx and twice A_xy.
    """
    means, slopes, curvatures = banded.down_columns([[kernel] for kernel in rows], images)[:, None]
    mean, slope, curvature = ([kernel] for kernel in columns)
    b_x, a_xx = banded.along_rows([slope, curvature], means)
    b_y, a_xy = banded.along_rows([mean, slope], slopes)
    (a_yy,) = banded.along_rows([mean], curvatures)
    return jnp.stack([b_y, b_x, a_yy, a_xx, a_xy])


def _update_flow(
    first: jax.Array, second: jax.Array, flow: jax.Array, window: Sequence[csr_array]
) -> jax.Array:
    """One iteration: the displacement that best carries one polynomial to the other, per window.

    Args:
        first: polynomials of the first image, [5, B, H, W].
        second: of the second image, likewise.
        flow: so far, [2, B, H, W], x first.
        window: averages along y and along x.

    Returns:
        The next flow, [2, B, H, W].
    """
    dx, dy = flow
    moved, inside = _sample(second, dx, dy)
    # Where the point leaves the image, the first frame's own curvature stands in.
    yy, xx, xy = jnp.where(inside, (first[2:] + moved[2:]) / 2, first[2:])
    xy = xy / 2
    c_y, c_x = (first[:2] - jnp.where(inside, moved[:2], 0)) / 2
    c_y = c_y + yy * dy + xy * dx
    c_x = c_x + xy * dy + xx * dx

    border = _border_weights(dx.shape[1:], dx.dtype)
    yy, xx, xy, c_y, c_x = (value * border for value in (yy, xx, xy, c_y, c_x))
    normal_equations = [
        yy * yy + xy * xy,
        (yy + xx) * xy,
        xx * xx + xy * xy,
        yy * c_y + xy * c_x,
        xy * c_y + xx * c_x,
    ]
    g_yy, g_xy, g_xx, h_y, h_x = _apply(window, jnp.stack(normal_equations))
    determinant = g_yy * g_xx - g_xy * g_xy + _REGULARIZATION
    return jnp.stack([g_yy * h_x - g_xy * h_y, g_xx * h_y - g_xy * h_x]) / determinant


def _sample(values: jax.Array, dx: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Reads [5, B, H, W] at displaced pixels, and says where those are inside the image."""
    height, width = values.shape[2:]
    x, y = jnp.arange(width, dtype=dx.dtype) + dx, jnp.arange(height, dtype=dy.dtype)[:, None] + dy
    inside = (x >= 0) & (x < width - 1) & (y >= 0) & (y < height - 1)
    x, y = jnp.where(inside, x, 0), jnp.where(inside, y, 0)
    return jnp.moveaxis(bilinear.read(jnp.moveaxis(values, 0, -1), x, y), -1, 0), inside


def _border_weights(size: Sequence[int], dtype: jnp.dtype) -> jax.Array:
    """[H, W]: less weight near the border, where polynomials see replicated pixels."""
    sides = []
    for length in size:
        weights = np.ones(length)
        reach = min(length, len(_BORDER_WEIGHTS))
        weights[:reach] *= _BORDER_WEIGHTS[:reach]
        weights[length - reach :] *= _BORDER_WEIGHTS[:reach][::-1]
        sides.append(weights)
    return jnp.asarray(np.outer(*sides), dtype)
