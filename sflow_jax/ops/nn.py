"""Instance norm, ReLU, pooling and padding of feature maps [B, H, W, C].

Some have a form of their own where XLA's plain one is slow; `ops.forms` has the switch to those.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from sflow_jax.ops import arguments, forms


def instance_norm(x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """Normalizes every channel of every example over its pixels, without affine parameters.

    Args:
        x: [B, H, W, C] of any float type; the statistics are computed in float32.
        epsilon: added to the biased variance, as `torch.nn.InstanceNorm2d` does.

    Returns:
        An array of the shape and type of `x`.
    """
    arguments.check_array("x", x, "B H W C", "float")
    return (_plain_norm if forms.is_plain() else _fast_norm)(x, epsilon)


def _plain_norm(x: jax.Array, epsilon: float) -> jax.Array:
    values = x.astype(jnp.float32)
    centered = values - values.mean((1, 2), keepdims=True)
    variance = jnp.square(centered).mean((1, 2), keepdims=True)
    return (centered * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _fast_norm(x: jax.Array, epsilon: float) -> jax.Array:
    """The norm in two passes over memory, with a gradient in two more, which keeps only `x`."""
    return _norm_forward(x, epsilon)[0]


def _norm_forward(x: jax.Array, epsilon: float) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    # Both moments take one pass. They would cancel out where the mean is large, so an estimate of
    # the mean, from a few pixels, is subtracted first.
    rows, columns = (max(1, side // 8) for side in x.shape[1:3])
    offset = x[:, ::rows, ::columns].astype(jnp.float32).mean((1, 2), keepdims=True)
    values = x.astype(jnp.float32) - offset
    mean = values.mean((1, 2), keepdims=True)
    variance = jnp.square(values).mean((1, 2), keepdims=True) - jnp.square(mean)
    scale = jax.lax.rsqrt(jnp.maximum(variance, 0) + epsilon)
    return ((values - mean) * scale).astype(x.dtype), (x, offset, mean, scale)


def _norm_backward(
    epsilon: float, kept: tuple[jax.Array, ...], cotangent: jax.Array
) -> tuple[jax.Array]:
    x, offset, mean, scale = kept
    normed = ((x.astype(jnp.float32) - offset) - mean) * scale
    cotangent = cotangent.astype(jnp.float32)
    along = (cotangent * normed).mean((1, 2), keepdims=True)
    centered = cotangent - cotangent.mean((1, 2), keepdims=True)
    return ((scale * (centered - along * normed)).astype(x.dtype),)


_fast_norm.defvjp(_norm_forward, _norm_backward)


def relu(x: jax.Array) -> jax.Array:
    """`max(x, 0)` of floats of any shape, with the gradient 0 at 0."""
    arguments.check_array("x", x, None, "float")
    # Not `jnp.maximum`, whose gradient at 0 is a half.
    return jnp.where(x <= 0, jnp.zeros((), x.dtype), x) if forms.is_plain() else _fast_relu(x)


@jax.custom_vjp
def _fast_relu(x: jax.Array) -> jax.Array:
    """A ReLU whose gradient, in reverse mode only, is computed from its result, not its input.

    So the input need not be kept, and a GPU's library fuses the ReLU into the convolution.
    """
    return jnp.maximum(x, 0)


def _relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = _fast_relu(x)
    return y, y


def _relu_backward(y: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    # Not `y > 0`, which XLA would turn into `x > 0`.
    return (jnp.where(y != 0, cotangent, 0),)


_fast_relu.defvjp(_relu_forward, _relu_backward)


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Max pooling of float [B, H, W, C] with a 2x2 window and stride 2, without padding.

    Of equal pixels the first one, row by row, gets the gradient, as in PyTorch.
    """
    arguments.check_array("x", x, "B H W C", "float")
    # Not `jax.lax.reduce_window`: its gradient is a scatter, which no platform makes fast code of.
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    x = _first_largest(x[:, :, ::2], x[:, :, 1::2])
    return _first_largest(x[:, ::2], x[:, 1::2])


def _first_largest(first: jax.Array, second: jax.Array) -> jax.Array:
    # A NaN is the result, whichever of the two it is, as in PyTorch.
    return jnp.where((second > first) | (second != second), second, first)


def dropout(keys: jax.Array, x: jax.Array, rate: float = 0.5) -> jax.Array:
    """Sets random elements to 0 and divides the others by the share that is kept.

    Args:
        keys: [B]; equal keys drop the same elements, so that the frames of a clip can share theirs.
        x: float [B, ...].
        rate: the probability that an element is dropped, less than 1.
    """
    arguments.check_array("keys", keys, "B", "key")
    kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - rate, x.shape[1:]))(keys)
    return jnp.where(kept, x / (1 - rate), jnp.zeros((), x.dtype))


def average_pool_3x3(x: jax.Array) -> jax.Array:
    """Average pooling of float [B, H, W, C] with a 3x3 window, stride 2 and padding 1.

    The padding is not counted in the averages.
    """
    arguments.check_array("x", x, "B H W C", "float")
    if forms.is_plain():
        return _sum_3x3(x) / _sum_3x3(jnp.ones_like(x))
    # XLA takes seconds to work these counts out for large images.
    counts = np.multiply.outer(*(_pixels_in_windows(side) for side in x.shape[1:3]))
    return _sum_3x3(x) / counts[..., None].astype(x.dtype)


def _sum_3x3(x: jax.Array) -> jax.Array:
    padding = ((0, 0), (1, 1), (1, 1), (0, 0))
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 3, 3, 1), (1, 2, 2, 1), padding)


def _pixels_in_windows(side: int) -> np.ndarray:
    """How many pixels each window along a side holds; window i begins at pixel 2 i - 1."""
    starts = np.arange(-1, side, 2)[: (side + 1) // 2]
    return np.minimum(starts + 3, side) - np.maximum(starts, 0)


def reflect_pad(x: jax.Array, size: int) -> jax.Array:
    """Reflection padding of [B, H, W, C] by `size` pixels on all four sides.

    The pixels at the border are not repeated, as in `torch.nn.ReflectionPad2d`.
    """
    arguments.check_array("x", x, "B H W C", "real")
    if forms.is_plain() or forms.on_cpu():
        return jnp.pad(x, ((0, 0), (size, size), (size, size), (0, 0)), mode="reflect")
    return _reflect(_reflect(x, size, 1), size, 2)


def _reflect(x: jax.Array, size: int, axis: int) -> jax.Array:
    # As a sum of padded parts it is computed together with what comes before, both axes at once;
    # what `jnp.pad` concatenates is written to memory for each axis, which costs a CPU less.
    length = x.shape[axis]
    before = jax.lax.slice_in_dim(x, 1, size + 1, axis=axis)
    behind = jax.lax.slice_in_dim(x, length - size - 1, length - 1, axis=axis)
    parts = ((jnp.flip(before, axis), 0), (x, size), (jnp.flip(behind, axis), size + length))
    first, second, third = (_place(part, start, length + 2 * size, axis) for part, start in parts)
    return first + second + third


def _place(x: jax.Array, start: int, length: int, axis: int) -> jax.Array:
    """Surrounds `x` with zeros."""
    padding = [(0, 0)] * x.ndim
    padding[axis] = (start, length - start - x.shape[axis])
    return jnp.pad(x, padding)


def pad_to_multiple(x: jax.Array, multiple: int, least: int = 2) -> jax.Array:
    """Pads [B, H, W, C] at the bottom and right until `multiple` divides both sides.

    The last row and column are repeated. Crop the network's output back with `output[:, :H, :W]`.

    Args:
        x: real [B, H, W, C].
        multiple: by which a network divides the sides.
        least: pixels that are left of a side then, at least; reflection padding needs two.
    """
    arguments.check_array("x", x, "B H W C", "real")
    bottom, right = (max(-side % multiple, least * multiple - side) for side in x.shape[1:3])
    if not (bottom or right):
        return x  # the gradient of a border of no pixels costs passes over the image
    return jnp.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="edge")
