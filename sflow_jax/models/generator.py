"""The image generators of pix2pixHD, which S-Flow GAN conditions on labels and edges.

Reference: Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional
GANs" (2018), and `GlobalGenerator` and `LocalEnhancer` in NVIDIA/pix2pixHD models/networks.py.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from sflow_jax.models.layers import (
    INITIALIZER,
    UPSAMPLINGS,
    Conv,
    DownBlock,
    ModuleDef,
    ReflectConv,
    ResidualBlock,
    UpBlock,
    normalize,
)
from sflow_jax.ops.convolution import convolve
from sflow_jax.ops.nn import average_pool_3x3, pad_to_multiple, reflect_pad, relu


class Stem(nn.Module):
    """The first layer: a 7x7 convolution of labels and edges with instance norm and ReLU.

    Labels are data: no gradient to them is computed.

    Attributes:
        features: output channels.
        conv: the convolution layer.
        affine: whether the norm has scales and biases.
    """

    features: int
    conv: ModuleDef = Conv
    affine: bool = False

    @nn.compact
    def __call__(self, label_map: jax.Array, edge_map: jax.Array | None) -> jax.Array:
        """Maps [B, H, W, C] and [B, H, W, 1] or None to [B, H, W, features]."""
        # Apart, so that for the gradient only the border of the edges is reflected.
        x = reflect_pad(jax.lax.stop_gradient(label_map), 3)
        if edge_map is not None:
            x = jnp.concatenate([x, reflect_pad(edge_map, 3)], -1)
        conv = self.conv(
            self.features,
            (7, 7),
            padding="VALID",
            use_bias=False,
            kernel_init=INITIALIZER,
            conv_general_dilated=functools.partial(convolve, num_constant=label_map.shape[-1]),
        )
        return relu(normalize(conv(x), self.affine))


class Blocks(NamedTuple):
    """What a generator is built of, every part with the type that the generator computes in."""

    stem: ModuleDef
    down: ModuleDef
    residual: ModuleDef
    up: ModuleDef
    to_image: ModuleDef


def make_blocks(dtype: Any, upsampling: str, remat: bool, affine: bool = False) -> Blocks:
    """Makes the parts of a generator.

    Args:
        dtype: type of the computation.
        upsampling: a key of `UPSAMPLINGS`.
        remat: whether the inside of residual blocks is computed again for the gradient, not kept.
        affine: whether the norms have scales and biases, as in vid2vid.
    """
    conv = functools.partial(Conv, dtype=dtype)
    residual_block = nn.remat(ResidualBlock) if remat else ResidualBlock
    return Blocks(
        stem=functools.partial(Stem, conv=conv, affine=affine),
        down=functools.partial(DownBlock, conv=conv, affine=affine),
        residual=functools.partial(residual_block, conv=conv, affine=affine),
        up=functools.partial(
            UpBlock,
            upsample_conv=functools.partial(UPSAMPLINGS[upsampling], dtype=dtype),
            affine=affine,
        ),
        to_image=functools.partial(ReflectConv, 3, 7, use_bias=True, conv=conv),
    )


def halve(x: jax.Array, block: Blocks, width: int, num_downsamplings: int) -> jax.Array:
    """The down blocks of the module that calls it: `down_1` and so on, twice as wide each."""
    for level in range(1, num_downsamplings + 1):
        x = block.down(width * 2**level, name=f"down_{level}")(x)
    return x


def refine(x: jax.Array, block: Blocks, num_blocks: int) -> jax.Array:
    """The residual blocks of the module that calls it: `block_0` and so on."""
    for index in range(num_blocks):
        x = block.residual(name=f"block_{index}")(x)
    return x


def enlarge(x: jax.Array, block: Blocks, width: int, num_upsamplings: int) -> jax.Array:
    """The up blocks of the module that calls it, the last of which, `up_0`, gives the width."""
    for level in reversed(range(num_upsamplings)):
        x = block.up(width * 2**level, name=f"up_{level}")(x)
    return x


class GlobalTrunk(nn.Module):
    """The global generator up to its last features: stem, down, residual and up blocks.

    Attributes:
        width: channels of the stem and of the result (ngf).
        num_downsamplings: how often height and width are halved.
        num_blocks: residual blocks at the lowest resolution.
        block: the parts to build it of.
    """

    width: int
    num_downsamplings: int
    num_blocks: int
    block: Blocks

    @nn.compact
    def __call__(self, label_map: jax.Array, edge_map: jax.Array | None) -> jax.Array:
        """Maps [B, H, W, C] and [B, H, W, 1] or None to [B, H, W, width].

        H and W divide by 2**num_downsamplings.
        """
        x = self.block.stem(self.width, name="stem")(label_map, edge_map)
        x = halve(x, self.block, self.width, self.num_downsamplings)
        x = refine(x, self.block, self.num_blocks)
        return enlarge(x, self.block, self.width, self.num_downsamplings)


class GlobalGenerator(nn.Module):
    """pix2pixHD's global generator, `G(s, e)` of eq. 3.

    Sizes that cannot be halved `num_downsamplings` times are padded and the result is cropped back.

    Attributes:
        width: channels at full resolution (ngf).
        num_downsamplings: how often height and width are halved.
        num_blocks: residual blocks at the lowest resolution.
        dtype: type of the computation; parameters and norm statistics are float32 in any case.
        remat: computes the residual blocks again for the gradient, to save memory; XLA undoes that
            on a CPU.
        upsampling: a key of `UPSAMPLINGS`; pix2pixHD's is `transposed`.
    """

    width: int = 64
    num_downsamplings: int = 3
    num_blocks: int = 9
    dtype: Any = jnp.float32
    remat: bool = False
    upsampling: str = "transposed"

    @nn.compact
    def __call__(self, label_map: jax.Array, edge_map: jax.Array | None = None) -> jax.Array:
        """Generates images.

        Args:
            label_map: s, one-hot [B, H, W, C]; no gradient to it is computed.
            edge_map: e, [B, H, W, 1] in [0, 1]; None for a generator that sees labels only.

        Returns:
            float32 images [B, H, W, 3] in [-1, 1].
        """
        size, multiple = label_map.shape[1:3], 2**self.num_downsamplings
        inputs = _prepare(label_map, edge_map, self.dtype, multiple)
        block = make_blocks(self.dtype, self.upsampling, self.remat)
        trunk = GlobalTrunk(
            self.width, self.num_downsamplings, self.num_blocks, block, name="trunk"
        )
        return _finish(block.to_image(name="to_image")(trunk(*inputs)), size)


class LocalEnhancer(nn.Module):
    """pix2pixHD's coarse-to-fine generator for 1024x512 and more.

    A global trunk of twice the width works at half the size; its features are added to those of a
    full-size encoder and refined by a few residual blocks.

    Attributes:
        width: channels at full resolution (ngf of the enhancer).
        num_downsamplings: halvings inside the global trunk.
        num_blocks: residual blocks of the global trunk.
        num_local_blocks: residual blocks of the enhancer.
        dtype: type of the computation; parameters and norm statistics are float32 in any case.
        remat: computes the residual blocks again for the gradient, to save memory; XLA undoes that
            on a CPU.
        upsampling: a key of `UPSAMPLINGS`; pix2pixHD's is `transposed`.
    """

    width: int = 32
    num_downsamplings: int = 3
    num_blocks: int = 9
    num_local_blocks: int = 3
    dtype: Any = jnp.float32
    remat: bool = False
    upsampling: str = "transposed"

    @nn.compact
    def __call__(self, label_map: jax.Array, edge_map: jax.Array | None = None) -> jax.Array:
        """Generates images; arguments and result as for `GlobalGenerator`."""
        size, multiple = label_map.shape[1:3], 2 ** (self.num_downsamplings + 1)
        inputs = _prepare(label_map, edge_map, self.dtype, multiple)
        block = make_blocks(self.dtype, self.upsampling, self.remat)
        trunk = GlobalTrunk(
            2 * self.width, self.num_downsamplings, self.num_blocks, block, name="trunk"
        )
        coarse = trunk(*jax.tree.map(average_pool_3x3, inputs))
        fine = block.stem(self.width, name="stem")(*inputs)
        x = coarse + block.down(2 * self.width, name="down")(fine)
        x = refine(x, block, self.num_local_blocks)
        x = block.up(self.width, name="up")(x)
        return _finish(block.to_image(name="to_image")(x), size)


def _prepare(
    label_map: jax.Array, edge_map: jax.Array | None, dtype: Any, multiple: int
) -> tuple[jax.Array, jax.Array | None]:
    """Casts both maps and pads them to sides that can be divided."""
    inputs = label_map, edge_map  # a map that is None stays None
    return jax.tree.map(lambda x: pad_to_multiple(x.astype(dtype), multiple), inputs)


def _finish(x: jax.Array, size: Sequence[int]) -> jax.Array:
    """Takes the last layer's result to RGB in [-1, 1], and crops what was padded."""
    height, width = size
    return jnp.tanh(x.astype(jnp.float32))[:, :height, :width]
