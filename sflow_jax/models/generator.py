"""The image generators of pix2pixHD, which S-Flow GAN conditions on labels and edges.

Reference: Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional
GANs" (2018), and `GlobalGenerator` and `LocalEnhancer` in NVIDIA/pix2pixHD models/networks.py.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sflow_jax.models.layers import (
    INITIALIZER,
    Conv,
    ReflectConv,
    ResidualBlock,
    UpsampleConv,
    average_pool_3x3,
    instance_norm,
    pad_to_multiple,
    relu,
)


class HalvingConv(nn.Module):
    """A 3x3 convolution of stride 2 with instance norm and ReLU.

    Attributes:
        features: output channels.
        dtype: type of the computation.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H / 2, W / 2, features]."""
        # Explicit padding: SAME would pad even sizes on one side only, unlike the reference.
        conv = Conv(
            self.features,
            (3, 3),
            strides=2,
            padding=1,
            use_bias=False,
            dtype=self.dtype,
            kernel_init=INITIALIZER,
        )
        return relu(instance_norm(conv(x)))


class DoublingConv(nn.Module):
    """A transposed 3x3 convolution of stride 2 with instance norm and ReLU.

    Attributes:
        features: output channels.
        dtype: type of the computation.
    """

    features: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, 2H, 2W, features]."""
        return relu(instance_norm(UpsampleConv(self.features, self.dtype)(x)))


def residual_block(remat: bool, dtype: Any, name: str) -> nn.Module:
    """A residual block; with `remat` its inside is not kept for the gradient but computed again."""
    kind = nn.remat(ResidualBlock) if remat else ResidualBlock
    return kind(dtype, name=name)


def stem(x: jax.Array, features: int, dtype: Any, num_labels: int) -> jax.Array:
    """The first layer of a trunk or enhancer: [B, H, W, C] to [B, H, W, features]."""
    conv = ReflectConv(features, 7, dtype, num_constant=num_labels, name="stem")
    return relu(instance_norm(conv(x)))


class GlobalTrunk(nn.Module):
    """The global generator up to its last features: stem, halvings, residual blocks, doublings.

    Attributes:
        width: channels of the stem and of the result (ngf).
        num_downsamplings: how often height and width are halved.
        num_blocks: residual blocks at the lowest resolution.
        dtype: type of the computation.
        remat: computes the residual blocks again for the gradient.
        num_labels: so many input channels, the first ones, are labels: their gradient is 0.
    """

    width: int
    num_downsamplings: int
    num_blocks: int
    dtype: Any = jnp.float32
    remat: bool = False
    num_labels: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, width]; H and W divide by 2**num_downsamplings."""
        x = stem(x, self.width, self.dtype, self.num_labels)
        for level in range(1, self.num_downsamplings + 1):
            x = HalvingConv(self.width * 2**level, self.dtype, name=f"down_{level}")(x)
        for block in range(self.num_blocks):
            x = residual_block(self.remat, self.dtype, f"block_{block}")(x)
        for level in reversed(range(self.num_downsamplings)):
            x = DoublingConv(self.width * 2**level, self.dtype, name=f"up_{level}")(x)
        return x


def to_image(features: jax.Array, dtype: Any) -> jax.Array:
    """The last layer of both generators: [B, H, W, C] to float32 RGB [B, H, W, 3] in [-1, 1]."""
    conv = ReflectConv(3, 7, dtype, use_bias=True, name="to_image")
    return jnp.tanh(conv(features).astype(jnp.float32))


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
    """

    width: int = 64
    num_downsamplings: int = 3
    num_blocks: int = 9
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, label_map: jax.Array, edge_map: jax.Array | None = None) -> jax.Array:
        """Generates images.

        Args:
            label_map: s, one-hot, [B, H, W, C].
            edge_map: e, [B, H, W, 1]; None for a generator that sees labels only.

        Returns:
            float32 images [B, H, W, 3] in [-1, 1].
        """
        num_labels = 0 if edge_map is None else label_map.shape[-1]
        condition = label_map if edge_map is None else jnp.concatenate([label_map, edge_map], -1)
        height, width = condition.shape[1:3]
        x = pad_to_multiple(condition.astype(self.dtype), 2**self.num_downsamplings)
        trunk = GlobalTrunk(
            self.width,
            self.num_downsamplings,
            self.num_blocks,
            self.dtype,
            self.remat,
            num_labels,
            name="trunk",
        )
        return to_image(trunk(x), self.dtype)[:, :height, :width]


class LocalEnhancer(nn.Module):
    """pix2pixHD's coarse-to-fine generator for 1024x512 and more.

    A global trunk of twice the width works at half the size; its features are added to those of a
    full-size encoder and refined by a few residual blocks.

    Attributes:
        width: channels at full resolution (ngf of the enhancer).
        num_downsamplings: halvings inside the global trunk.
        num_blocks: residual blocks of the global trunk.
        num_local_blocks: residual blocks of the enhancer.
        dtype: type of the computation.
        remat: computes the residual blocks again for the gradient, to save memory; XLA undoes that
            on a CPU.
    """

    width: int = 32
    num_downsamplings: int = 3
    num_blocks: int = 9
    num_local_blocks: int = 3
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, label_map: jax.Array, edge_map: jax.Array | None = None) -> jax.Array:
        """Generates images; arguments and result as for `GlobalGenerator`."""
        num_labels = 0 if edge_map is None else label_map.shape[-1]
        condition = label_map if edge_map is None else jnp.concatenate([label_map, edge_map], -1)
        height, width = condition.shape[1:3]
        x = pad_to_multiple(condition.astype(self.dtype), 2 ** (self.num_downsamplings + 1))
        trunk = GlobalTrunk(
            2 * self.width,
            self.num_downsamplings,
            self.num_blocks,
            self.dtype,
            self.remat,
            num_labels,
            name="trunk",
        )
        coarse = trunk(average_pool_3x3(x))
        fine = stem(x, self.width, self.dtype, num_labels)
        x = coarse + HalvingConv(2 * self.width, self.dtype, name="down")(fine)
        for block in range(self.num_local_blocks):
            x = residual_block(self.remat, self.dtype, f"block_{block}")(x)
        x = DoublingConv(self.width, self.dtype, name="up")(x)
        return to_image(x, self.dtype)[:, :height, :width]
