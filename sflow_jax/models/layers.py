"""Layers that the generator, the discriminators and their baselines share.

All tensors are [B, H, W, C]. Parameters and norm statistics stay float32; `dtype` is the type that
the convolutions compute in. Where instance norm follows, they have no bias, unlike the reference's:
it would be subtracted again with the mean, and its gradient is 0 but for rounding.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sflow_jax.models import convolution

# pix2pixHD's initialization (`weights_init` in its models/networks.py).
INITIALIZER = nn.initializers.normal(stddev=0.02)


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: Any,
    num_constant: int = 0,
    **options: Any,
) -> jax.Array:
    """`jax.lax.conv_general_dilated` for Flax's layers, in forms that XLA makes fast code of.

    The first `num_constant` channels of `x` are data: their gradient is 0.
    """
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:-1], kernel.shape[:-2], strides, padding)
    padding = tuple(map(tuple, padding))
    if _is_pointwise(kernel, padding, options):
        x = x[:, *(slice(None, None, stride) for stride in strides)]
        return jnp.matmul(x, kernel.reshape(kernel.shape[-2:]), precision=options["precision"])
    if _has_fast_form(kernel, strides, options):
        return convolution.convolve(x, kernel, strides[0], padding, num_constant)
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)


def _is_pointwise(kernel: jax.Array, padding: tuple, options: dict[str, Any]) -> bool:
    return (
        set(kernel.shape[:-2]) == {1}
        and set(padding) == {(0, 0)}
        and set(options["lhs_dilation"]) == {1}
        and options["feature_group_count"] == 1
    )


def _has_fast_form(kernel: jax.Array, strides: Sequence[int], options: dict[str, Any]) -> bool:
    # A CPU multiplies in the type of its arguments, whatever the precision.
    has_precision = options["precision"] is None or jax.default_backend() == "cpu"
    return (
        kernel.ndim == 4
        and strides[0] == strides[1]
        and set(options["lhs_dilation"]) == set(options["rhs_dilation"]) == {1}
        and options["feature_group_count"] == 1
        and has_precision
    )


Conv = functools.partial(nn.Conv, conv_general_dilated=convolve)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def instance_norm(x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """Normalizes every channel of every example over its pixels, without affine parameters.

    Two passes over memory, and two for the gradient, which keeps `x` in its own type.

    Args:
        x: [B, H, W, C] of any float type; the statistics are computed in float32.
        epsilon: added to the biased variance, as `torch.nn.InstanceNorm2d` does.

    Returns:
        An array of the shape and type of `x`.
    """
    return _norm_forward(x, epsilon)[0]


def _norm_forward(x: jax.Array, epsilon: float) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    # Both moments in one pass. Where the mean is large they would cancel out, so that about the
    # mean, that of a few pixels, is taken off before.
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


instance_norm.defvjp(_norm_forward, _norm_backward)


@jax.custom_vjp
def relu(x: jax.Array) -> jax.Array:
    """`jax.nn.relu` whose gradient, in reverse mode only, looks at its result instead of its input.

    The input need not be kept then, and a GPU's library computes both with the convolution.
    """
    return jnp.maximum(x, 0)


def _relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = relu(x)
    return y, y


def _relu_backward(y: jax.Array, cotangent: jax.Array) -> tuple[jax.Array]:
    # Not `y > 0`, which XLA would turn into `x > 0`.
    return (jnp.where(y != 0, cotangent, 0),)


relu.defvjp(_relu_forward, _relu_backward)


def max_pool_2x2(x: jax.Array) -> jax.Array:
    """Halves [B, H, W, C] by the largest of 2x2 pixels; an odd last row or column is left out.

    Of equal pixels the first one, row by row, gets the gradient, as in PyTorch. `nn.max_pool` gives
    the same, but its gradient is a scatter, which no platform makes fast code of.
    """
    x = x[:, : x.shape[1] // 2 * 2, : x.shape[2] // 2 * 2]
    x = _first_largest(x[:, :, ::2], x[:, :, 1::2])
    return _first_largest(x[:, ::2], x[:, 1::2])


def _first_largest(first: jax.Array, second: jax.Array) -> jax.Array:
    # What is not a number is the largest, wherever it stands.
    return jnp.where((second > first) | (second != second), second, first)


def average_pool_3x3(x: jax.Array) -> jax.Array:
    """Halves [B, H, W, C] by 3x3 averages at stride 2, padding not counted in the average."""
    # Not `nn.avg_pool`, whose counts XLA takes seconds to work out for large images.
    counts = np.multiply.outer(*(_pixels_in_windows(side) for side in x.shape[1:3]))
    sums = nn.pool(x, 0.0, jax.lax.add, (3, 3), (2, 2), ((1, 1), (1, 1)))
    return sums / counts[..., None].astype(x.dtype)


def _pixels_in_windows(side: int) -> np.ndarray:
    """How many pixels each window along a side holds; window i begins at pixel 2 i - 1."""
    starts = np.arange(-1, side, 2)[: (side + 1) // 2]
    return np.minimum(starts + 3, side) - np.maximum(starts, 0)


def reflect_pad(x: jax.Array, size: int) -> jax.Array:
    """Pads height and width of [B, H, W, C] by `size` on every side, the border not repeated."""
    if jax.default_backend() == "cpu":
        return jnp.pad(x, ((0, 0), (size, size), (size, size), (0, 0)), mode="reflect")
    return _reflect(_reflect(x, size, 1), size, 2)


def _reflect(x: jax.Array, size: int, axis: int) -> jax.Array:
    # As a sum of padded parts it is computed together with what comes before, both axes at once;
    # what `jnp.pad` concatenates is written to memory for each axis, which costs a CPU less.
    length = x.shape[axis]
    before = jax.lax.slice_in_dim(x, 1, size + 1, axis=axis)
    behind = jax.lax.slice_in_dim(x, length - size - 1, length - 1, axis=axis)
    parts = ((jnp.flip(before, axis), 0), (x, size), (jnp.flip(behind, axis), size + length))
    return sum(_place(part, start, length + 2 * size, axis) for part, start in parts)


def _place(x: jax.Array, start: int, length: int, axis: int) -> jax.Array:
    """Surrounds `x` with zeros."""
    padding = [(0, 0)] * x.ndim
    padding[axis] = (start, length - start - x.shape[axis])
    return jnp.pad(x, padding)


def pad_to_multiple(x: jax.Array, multiple: int) -> jax.Array:
    """Repeats the last row and column of [B, H, W, C] until both sides are multiples.

    The sides become at least twice `multiple`, so that reflection padding still has a pixel to
    reflect after the network has divided them by it. Crop the network's output back with
    `output[:, :H, :W]`.
    """
    bottom, right = (max(-side % multiple, 2 * multiple - side) for side in x.shape[1:3])
    if not (bottom or right):
        return x  # the gradient of a border of no pixels costs passes over the image
    return jnp.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="edge")


class ReflectConv(nn.Module):
    """A convolution that keeps height and width by reflecting the border.

    Attributes:
        features: output channels.
        kernel_size: side of the odd, square kernel.
        dtype: type of the computation.
        use_bias: whether the result has a bias.
        num_constant: so many input channels, the first ones, are data: their gradient is 0.
    """

    features: int
    kernel_size: int
    dtype: Any = jnp.float32
    use_bias: bool = False
    num_constant: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, features]."""
        # Apart, so that the border of the others alone is reflected for the gradient.
        constant, others = x[..., : self.num_constant], x[..., self.num_constant :]
        parts = [jax.lax.stop_gradient(constant), others] if self.num_constant else [others]
        parts = [reflect_pad(part, self.kernel_size // 2) for part in parts]
        kernel = (self.kernel_size, self.kernel_size)
        conv = nn.Conv(
            self.features,
            kernel,
            padding="VALID",
            use_bias=self.use_bias,
            dtype=self.dtype,
            kernel_init=INITIALIZER,
            conv_general_dilated=functools.partial(convolve, num_constant=self.num_constant),
        )
        return conv(jnp.concatenate(parts, -1))


class UpsampleConv(nn.Module):
    """Transposed convolution: kernel 3, stride 2, padding 1, output padding 1 in torch's terms.

    It has no bias, as instance norm follows.

    Attributes:
        features: output channels.
        dtype: type of the computation.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, 2H, 2W, features]."""
        height, width, channels = x.shape[1:]
        kernel = self.param("kernel", INITIALIZER, (3, 3, channels, self.features))
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        kernel = kernel.transpose(0, 1, 3, 2)  # of the convolution that it transposes
        size, padding = (2 * height, 2 * width), ((1, 1), (1, 1))
        return convolution.convolve_transposed(x, kernel, 2, padding, size)


class ResidualBlock(nn.Module):
    """Two reflect-padded 3x3 convolutions with instance norm, added to their input.

    Attributes:
        dtype: type of the computation.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, C]."""
        y = ReflectConv(x.shape[-1], 3, self.dtype)(x)
        y = relu(instance_norm(y))
        y = ReflectConv(x.shape[-1], 3, self.dtype)(y)
        return x + instance_norm(y)
