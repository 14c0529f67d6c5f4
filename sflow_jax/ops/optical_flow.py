"""Farneback's optical flow, differentiable in both images: the F of eq. 8.

G. Farneback, "Two-Frame Motion Estimation Based on Polynomial Expansion" (SCIA 2003), with the
choices of `cv2.calcOpticalFlowFarneback` and its box window, whose numbers it reproduces. Near each
pixel both images are approximated by a quadratic polynomial; the displacement that carries the
first's polynomials to the second's is averaged over a window, and refined from coarse to fine.

Everything but the displacement is linear and separable: blur, shrinking, polynomial expansion and
averaging, each with its border. Along one axis each is a matrix, computed in float64 when the
operator is traced; so the gradient is a product with the transposed matrix, and XLA compiles it in
seconds. (Sums of shifted images took minutes to compile on a CPU, and their gradient ran ten times
slower.)

Inside, images are [B, H, W], and what a pixel has several numbers of is a tuple of such arrays.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

_SMALLEST_SIDE = 32  # pixels; levels that would be smaller are left out
_BORDER_WEIGHTS = (0.14, 0.14, 0.4472, 0.4472, 0.4472)  # of the pixels next to the border
_REGULARISATION = 1e-3  # of the determinant

Polynomial = tuple[jax.Array, ...]
"""Of `x^T A x + b^T x` around each pixel: b_y, b_x, A_yy, A_xx and twice A_xy, each [B, H, W]."""


@functools.partial(
    jax.jit,
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
    iterations, poly_n, poly_sigma, 0)`. The gradient goes through all levels and iterations.

    Args:
        prev: grey images in 0..255, float [B, H, W, 1], of any size.
        next: the following images, likewise.
        pyr_scale: size of each level of the pyramid relative to the one below, less than 1.
        levels: of the pyramid on top of the images themselves.
        winsize: side of the averaging window in pixels; larger is smoother and more robust.
        iterations: at each level.
        poly_n: half the side of the neighbourhood that the polynomials approximate, in pixels.
        poly_sigma: standard deviation of its Gaussian weights, in pixels.

    Returns:
        float32 [B, H, W, 2] (float64 for float64 images): the point at p in `prev` is at p + flow
        in `next`, in pixels, x first.
    """
    dtype = jnp.promote_types(jnp.float32, prev.dtype)
    prev, next = prev[..., 0].astype(dtype), next[..., 0].astype(dtype)
    sides = prev.shape[1:]
    flow = None
    for level in reversed(range(_num_levels(sides, pyr_scale, levels) + 1)):
        scale = pyr_scale**level
        size = tuple(round(side * scale) for side in sides)
        # From the image straight to the kernels' answers at this level, per axis [3, to, from].
        operators = [
            _expansion_kernels(to, poly_n, poly_sigma) @ _resizing(to, side) @ _blur(side, scale)
            for to, side in zip(size, sides, strict=True)
        ]
        first, second = (_polynomial_expansion(image, *operators) for image in (prev, next))
        if flow is None:
            flow = (jnp.zeros_like(first[0]),) * 2
        else:
            enlarging = [
                _resizing(to, side) for to, side in zip(size, flow[0].shape[1:], strict=True)
            ]
            flow = tuple(_apply(d, *enlarging) / pyr_scale for d in flow)
        window = [_box(side, winsize) for side in size]
        for _ in range(iterations):
            flow = _update_flow(first, second, *flow, window)
    return jnp.stack(flow, -1)


def _num_levels(sides: tuple[int, int], pyr_scale: float, levels: int) -> int:
    """How many levels on top of the images do not get too small."""
    for level in range(1, levels + 1):
        if min(sides) * pyr_scale**level < _SMALLEST_SIDE:
            return level - 1
    return levels


def _apply(image: jax.Array, rows: np.ndarray, columns: np.ndarray) -> jax.Array:
    """Applies [h, H] down the columns and [w, W] along the rows of [B, H, W] to give [B, h, w]."""
    return _along_rows(_down_columns(image, rows), columns)


def _down_columns(image: jax.Array, operator: np.ndarray) -> jax.Array:
    # The displacement of a pixel is decided by small differences: no TF32 or bfloat16 here.
    return jnp.einsum("ij,bjk->bik", operator.astype(image.dtype), image, precision="highest")


def _along_rows(image: jax.Array, operator: np.ndarray) -> jax.Array:
    return jnp.einsum("ij,bkj->bki", operator.astype(image.dtype), image, precision="highest")


def _correlation(kernel: np.ndarray, side: int, border: str) -> np.ndarray:
    """[side, side]: correlates with a kernel of odd length; see `np.pad` for the border."""
    radius = len(kernel) // 2
    read = np.pad(np.arange(side), radius, mode=border)
    operator = np.zeros((side, side))
    for offset, weight in enumerate(kernel):
        np.add.at(operator, (np.arange(side), read[offset : offset + side]), weight)
    return operator


def _blur(side: int, scale: float) -> np.ndarray:
    """[side, side]: what OpenCV blurs with before it shrinks to `scale`; it does so at 1 too."""
    sigma = (1 / scale - 1) / 2
    length = max(round(5 * sigma) | 1, 3)
    offsets = np.arange(length) - length // 2
    # OpenCV has a fixed kernel for a sigma of 0.
    kernel = np.exp(-(offsets**2) / (2 * sigma**2)) if sigma else np.array([1.0, 2.0, 1.0])
    return _correlation(kernel / kernel.sum(), side, "reflect")


def _resizing(to: int, side: int) -> np.ndarray:
    """[to, side]: linear, without antialiasing, pixel centres at halves, the border replicated."""
    position = np.clip((np.arange(to) + 0.5) * (side / to) - 0.5, 0, side - 1)
    below = position.astype(int)
    above = np.minimum(below + 1, side - 1)
    operator = np.zeros((to, side))
    np.add.at(operator, (np.arange(to), below), 1 - (position - below))
    np.add.at(operator, (np.arange(to), above), position - below)
    return operator


def _box(side: int, winsize: int) -> np.ndarray:
    """[side, side]: the sum over a window divided by `winsize`, the border replicated."""
    return _correlation(np.full(2 * (winsize // 2) + 1, 1 / winsize), side, "edge")


def _expansion_kernels(side: int, n: int, sigma: float) -> np.ndarray:
    """[3, side, side]: what finds the mean, the slope and the curvature around each pixel.

    They solve the weighted least-squares fit of 1, x, y, x^2, y^2 and xy, which is separable: the
    curvature also takes off what the mean has of x^2.
    """
    x = np.arange(-n, n + 1)
    weight = np.exp(-(x**2) / (2 * sigma**2))
    weight /= weight.sum()
    second, fourth = ((weight * x**power).sum() for power in (2, 4))
    # Of 1, x^2 and y^2, the only functions of the six that are not orthogonal.
    gram = np.array([[1, second, second], [second, fourth, second**2], [second, second**2, fourth]])
    of_constant, of_square, _ = np.linalg.inv(gram)[1]
    kernels = (weight, weight * x / second, weight * (of_constant + of_square * x**2))
    return np.stack([_correlation(kernel, side, "edge") for kernel in kernels])


def _polynomial_expansion(image: jax.Array, rows: np.ndarray, columns: np.ndarray) -> Polynomial:
    """Fits a quadratic polynomial around each pixel of a level of the pyramid.

    Args:
        image: [B, H, W], at full size.
        rows: [3, h, H], mean, slope and curvature along y at the level.
        columns: [3, w, W], likewise along x.
    """
    mean_y, slope_y, curvature_y = (_down_columns(image, operator) for operator in rows)
    mean_x, slope_x, curvature_x = columns
    return (
        _along_rows(slope_y, mean_x),
        _along_rows(mean_y, slope_x),
        _along_rows(curvature_y, mean_x),
        _along_rows(mean_y, curvature_x),
        _along_rows(slope_y, slope_x),
    )


def _update_flow(
    first: Polynomial, second: Polynomial, dx: jax.Array, dy: jax.Array, window: list[np.ndarray]
) -> tuple[jax.Array, jax.Array]:
    """One iteration: the displacement that best carries one polynomial to the other, per window."""
    b_y, b_x, a_yy, a_xx, a_xy = first
    moved, inside = _sample(second, dx, dy)
    # Where the point leaves the image, the first frame's own curvature stands in.
    yy, xx, xy = (
        jnp.where(inside, (own + other) / 2, own)
        for own, other in zip((a_yy, a_xx, a_xy), moved[2:], strict=True)
    )
    xy = xy / 2
    c_y, c_x = (
        (own - jnp.where(inside, other, 0)) / 2
        for own, other in zip((b_y, b_x), moved[:2], strict=True)
    )
    c_y = c_y + yy * dy + xy * dx
    c_x = c_x + xy * dy + xx * dx

    border = _border_weights(*dx.shape[1:], dx.dtype)
    yy, xx, xy, c_y, c_x = (value * border for value in (yy, xx, xy, c_y, c_x))
    normal_equations = (
        yy * yy + xy * xy,
        (yy + xx) * xy,
        xx * xx + xy * xy,
        yy * c_y + xy * c_x,
        xy * c_y + xx * c_x,
    )
    g_yy, g_xy, g_xx, h_y, h_x = (_apply(value, *window) for value in normal_equations)
    determinant = g_yy * g_xx - g_xy * g_xy + _REGULARISATION
    return (g_yy * h_x - g_xy * h_y) / determinant, (g_xx * h_y - g_xy * h_x) / determinant


def _sample(values: Polynomial, dx: jax.Array, dy: jax.Array) -> tuple[list[jax.Array], jax.Array]:
    """Reads values bilinearly at displaced pixels, and says where those are inside the image."""
    batch, height, width = dx.shape
    x, y = jnp.arange(width, dtype=dx.dtype) + dx, jnp.arange(height, dtype=dy.dtype)[:, None] + dy
    left, top = jnp.floor(x), jnp.floor(y)
    inside = (left >= 0) & (left < width - 1) & (top >= 0) & (top < height - 1)
    right_share, low_share = x - left, y - top
    # One row per pixel, so that each corner is one read of all its values.
    table = jnp.stack(values, -1).reshape(-1, len(values))
    corner = jnp.where(inside, top, 0).astype(jnp.int32) * width
    corner += jnp.where(inside, left, 0).astype(jnp.int32)
    corner += (jnp.arange(batch) * height * width)[:, None, None]
    sampled = 0
    for offset, share in (
        (0, (1 - right_share) * (1 - low_share)),
        (1, right_share * (1 - low_share)),
        (width, (1 - right_share) * low_share),
        (width + 1, right_share * low_share),
    ):
        read = table.at[corner + offset].get(mode="clip")
        sampled += read * jnp.where(inside, share, 0)[..., None]
    return [sampled[..., i] for i in range(len(values))], inside


def _border_weights(height: int, width: int, dtype: jnp.dtype) -> jax.Array:
    """[H, W]: less weight near the border, where polynomials see replicated pixels."""
    sides = []
    for length in (height, width):
        weights = np.ones(length)
        reach = min(length, len(_BORDER_WEIGHTS))
        weights[:reach] *= _BORDER_WEIGHTS[:reach]
        weights[length - reach :] *= _BORDER_WEIGHTS[:reach][::-1]
        sides.append(weights)
    return jnp.asarray(np.outer(*sides), dtype)
