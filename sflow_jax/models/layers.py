"""Layers that the generator, the discriminators and their baselines share.

All tensors are [B, H, W, C]. Parameters and norm statistics stay float32; `dtype` is the type that
the convolutions compute in.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sflow_jax.models import convolution

# pix2pixHD's initialisation (`weights_init` in its models/networks.py).
INITIALIZER = nn.initializers.normal(stddev=0.02)

# Taps of the 3-wide transposed kernel that meet each output phase: [phase, input offset, tap].
# Output 2m reads input m through tap 1; output 2m + 1 reads inputs m, m + 1 through taps 2, 0.
_PHASE_TAPS = np.zeros((2, 2, 3), np.float32)
_PHASE_TAPS[0, 0, 1] = _PHASE_TAPS[1, 0, 2] = _PHASE_TAPS[1, 1, 0] = 1


def convolve(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: Any, **options: Any
) -> jax.Array:
    """`jax.lax.conv_general_dilated` for Flax's layers; on a CPU in the forms that are fast there.

    The choice is made once, when a function is traced: by the platform that JAX computes on.
    """
    if jax.default_backend() == "cpu" and _has_fast_form(kernel, strides, options):
        if isinstance(padding, str):
            padding = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding)
        return convolution.convolve(x, kernel, strides[0], tuple(map(tuple, padding)))
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)


def _has_fast_form(kernel: jax.Array, strides: tuple[int, int], options: dict[str, Any]) -> bool:
    # Whatever the precision: a CPU multiplies in the type of its arguments.
    is_ordinary = (
        kernel.ndim == 4
        and strides[0] == strides[1]
        and set(options["lhs_dilation"]) == set(options["rhs_dilation"]) == {1}
        and options["feature_group_count"] == 1
    )
    return is_ordinary and kernel.shape[:2] != (1, 1)  # a plain product of matrices


Conv = functools.partial(nn.Conv, conv_general_dilated=convolve)


def instance_norm(x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """Normalises every channel of every example over its pixels, without affine parameters.

    Args:
        x: [B, H, W, C] of any float type; the statistics are computed in float32.
        epsilon: added to the biased variance, as `torch.nn.InstanceNorm2d` does.

    Returns:
        An array of the shape and type of `x`.
    """
    values = x.astype(jnp.float32)
    mean = values.mean((1, 2), keepdims=True)
    variance = jnp.square(values - mean).mean((1, 2), keepdims=True)
    return ((values - mean) * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype)


def average_pool_3x3(x: jax.Array) -> jax.Array:
    """Halves [B, H, W, C] by 3x3 averages at stride 2, padding not counted in the average."""
    padding = ((1, 1), (1, 1))
    return nn.avg_pool(x, (3, 3), (2, 2), padding, count_include_pad=False)


def reflect_pad(x: jax.Array, size: int) -> jax.Array:
    """Pads height and width of [B, H, W, C] by `size` on every side, the border not repeated."""
    return jnp.pad(x, ((0, 0), (size, size), (size, size), (0, 0)), mode="reflect")


def pad_to_multiple(x: jax.Array, multiple: int) -> jax.Array:
    """Repeats the last row and column of [B, H, W, C] until both sides are multiples.

    The sides become at least twice `multiple`, so that reflection padding still has a pixel to
    reflect after the network has divided them by it. Crop the network's output back with
    `output[:, :H, :W]`.
    """
    bottom, right = (max(-side % multiple, 2 * multiple - side) for side in x.shape[1:3])
    return jnp.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0)), mode="edge")


class ReflectConv(nn.Module):
    """A convolution that keeps height and width by reflecting the border.

    Attributes:
        features: output channels.
        kernel_size: side of the odd, square kernel.
        dtype: type of the computation.
    """

    features: int
    kernel_size: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, features]."""
        x = reflect_pad(x, self.kernel_size // 2)
        kernel = (self.kernel_size, self.kernel_size)
        conv = Conv(
            self.features, kernel, padding="VALID", dtype=self.dtype, kernel_init=INITIALIZER
        )
        return conv(x)


class UpsampleConv(nn.Module):
    """Transposed convolution: kernel 3, stride 2, padding 1, output padding 1 in torch's terms.

    On a CPU it is what `convolution` makes of it; elsewhere it is computed in the sub-pixel form:
    the 3x3 kernel rearranged into a 2x2 convolution to four times the channels, then depth to
    space. The result is exactly the same, without convolutions of a dilated input.

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
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = (array.astype(self.dtype) for array in (x, kernel, bias))
        if jax.default_backend() == "cpu":
            kernel = kernel.transpose(0, 1, 3, 2)  # of the convolution that it transposes
            size, padding = (2 * height, 2 * width), ((1, 1), (1, 1))
            return convolution.convolve_transposed(x, kernel, 2, padding, size) + bias
        return upsample_subpixel(x, kernel) + bias


def upsample_subpixel(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`UpsampleConv` without its bias, in the sub-pixel form.

    Args:
        x: [B, H, W, C].
        kernel: [3, 3, C, O].

    Returns:
        [B, 2H, 2W, O].
    """
    batch, height, width, channels = x.shape
    features = kernel.shape[-1]
    taps = _PHASE_TAPS.astype(kernel.dtype)
    phases = jnp.einsum("pak,qbl,klio->abipqo", taps, taps, kernel)
    x = jax.lax.conv_general_dilated(
        x,
        phases.reshape(2, 2, channels, 4 * features),
        window_strides=(1, 1),
        padding=((0, 1), (0, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    x = x.reshape(batch, height, width, 2, 2, features)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, 2 * height, 2 * width, features)


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
        y = nn.relu(instance_norm(y))
        y = ReflectConv(x.shape[-1], 3, self.dtype)(y)
        return x + instance_norm(y)
