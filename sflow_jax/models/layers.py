"""Layers that several networks share.

All tensors are [B, H, W, C]. Parameters and norm statistics stay float32; `dtype` is the type that
the convolutions compute in. Where instance norm follows, they have no bias, unlike the reference's:
it would be subtracted again with the mean, and its gradient is 0 but for rounding.
"""

import abc
import functools
from collections.abc import Callable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from sflow_jax.ops.convolution import convolve, convolve_transposed
from sflow_jax.ops.nn import instance_norm, reflect_pad, relu

# pix2pixHD's initialization (`weights_init` in its models/networks.py).
INITIALIZER = nn.initializers.normal(stddev=0.02)

ModuleDef = Callable[..., nn.Module]
"""A module's class with some of its attributes, as `functools.partial` makes it."""

Conv = functools.partial(nn.Conv, conv_general_dilated=convolve)
"""Flax's convolution layer, computed by `ops.convolution`."""


class ReflectConv(nn.Module):
    """A convolution that keeps height and width by reflecting the border.

    Attributes:
        features: output channels.
        kernel_size: side of the odd, square kernel.
        use_bias: whether the result has a bias.
        conv: the convolution layer.
    """

    features: int
    kernel_size: int
    use_bias: bool = False
    conv: ModuleDef = Conv

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, features]."""
        conv = self.conv(
            self.features,
            (self.kernel_size, self.kernel_size),
            padding="VALID",
            use_bias=self.use_bias,
            kernel_init=INITIALIZER,
        )
        return conv(reflect_pad(x, self.kernel_size // 2))


class AffineInstanceNorm(nn.Module):
    """Instance norm with a scale and a bias for each channel.

    It is batch norm of a batch of one image by its own statistics, which is what the official
    pix2pix and vid2vid do in training and in use.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to the same shape and type."""
        shape = (x.shape[-1],)
        scale = self.param("scale", _around_one, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        return instance_norm(x) * scale.astype(x.dtype) + bias.astype(x.dtype)


def normalize(x: jax.Array, affine: bool, name: str | None = None) -> jax.Array:
    """Instance norm of [B, H, W, C] inside a module, where `affine` as a layer with parameters."""
    return AffineInstanceNorm(name=name)(x) if affine else instance_norm(x)


def _around_one(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Normal with mean 1 and standard deviation 0.02, as the references draw norms' scales."""
    return 1 + INITIALIZER(key, shape)


class Upsampling(nn.Module, abc.ABC):
    """A layer that doubles height and width. No bias: instance norm follows.

    Attributes:
        features: output channels.
        dtype: type of the computation.
    """

    features: int
    dtype: Any = jnp.float32
    kernel_size: ClassVar[int] = 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, 2H, 2W, features]."""
        sides = (self.kernel_size, self.kernel_size)
        kernel = self.param("kernel", INITIALIZER, (*sides, x.shape[-1], self.features))
        size = (2 * x.shape[1], 2 * x.shape[2])
        return self.enlarge(x.astype(self.dtype), kernel.astype(self.dtype), size)

    @abc.abstractmethod
    def enlarge(self, x: jax.Array, kernel: jax.Array, size: tuple[int, int]) -> jax.Array:
        """Takes `x` to `size` with the kernel [k, k, C, features], both of the type `dtype`."""


class UpsampleConv(Upsampling):
    """Transposed convolution: kernel 3, stride 2, padding 1, output padding 1 in torch's terms."""

    def enlarge(self, x: jax.Array, kernel: jax.Array, size: tuple[int, int]) -> jax.Array:
        """See `Upsampling`."""
        kernel = kernel.swapaxes(2, 3)  # of the convolution that it transposes
        return convolve_transposed(x, kernel, 2, ((1, 1), (1, 1)), size)


class UpsampleConv4x4(UpsampleConv):
    """Transposed convolution: kernel 4, stride 2, padding 1, as in pix2pix."""

    kernel_size: ClassVar[int] = 4


class ResizeConv(Upsampling):
    """Nearest-neighbor enlarging and a 3x3 convolution, with replicated borders.

    Unlike a transposed 3x3 convolution, which has one, two or four taps for a pixel according to
    its place, it has the same nine for all of them and paints no checkerboard of its own (Odena et
    al., "Deconvolution and Checkerboard Artifacts", 2016). Of those nine taps at most four fall on
    different pixels, so it is computed as a transposed 4x4 convolution.
    """

    def enlarge(self, x: jax.Array, kernel: jax.Array, size: tuple[int, int]) -> jax.Array:
        """See `Upsampling`."""
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        scattered = jnp.flip(kernel, (0, 1)).swapaxes(2, 3).astype(jnp.float32)
        # Every pixel is enlarged to 2x2, each of which scatters the kernel: in sum 4x4 taps.
        shifts = [((a, 1 - a), (b, 1 - b), (0, 0), (0, 0)) for a in (0, 1) for b in (0, 1)]
        taps = jnp.stack([jnp.pad(scattered, shift) for shift in shifts]).sum(0)
        return convolve_transposed(x, taps.astype(x.dtype), 2, ((3, 3), (3, 3)), size)


UPSAMPLINGS: dict[str, ModuleDef] = {"transposed": UpsampleConv, "resize": ResizeConv}
"""How generators double height and width, by the names in configs."""


class ResidualBlock(nn.Module):
    """Two reflect-padded 3x3 convolutions with instance norm, added to their input.

    Attributes:
        conv: the convolution layer.
        affine: whether the norms have scales and biases.
    """

    conv: ModuleDef = Conv
    affine: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, C]."""
        conv = functools.partial(ReflectConv, x.shape[-1], 3, conv=self.conv)
        y = relu(normalize(conv()(x), self.affine))
        return x + normalize(conv()(y), self.affine)


class DownBlock(nn.Module):
    """A 3x3 convolution of stride 2 with instance norm and ReLU.

    Attributes:
        features: output channels.
        conv: the convolution layer.
        affine: whether the norm has scales and biases.
    """

    features: int
    conv: ModuleDef = Conv
    affine: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / 2, W / 2, features]."""
        # Explicit padding: SAME would pad even sizes on one side only, unlike the reference.
        conv = self.conv(
            self.features, (3, 3), strides=2, padding=1, use_bias=False, kernel_init=INITIALIZER
        )
        return relu(normalize(conv(x), self.affine))


class UpBlock(nn.Module):
    """A convolution that doubles height and width, with instance norm and ReLU.

    Attributes:
        features: output channels.
        upsample_conv: that convolution layer.
        affine: whether the norm has scales and biases.
    """

    features: int
    upsample_conv: ModuleDef = UpsampleConv
    affine: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, 2H, 2W, features]."""
        return relu(normalize(self.upsample_conv(self.features)(x), self.affine))
