"""The generator of vid2vid, which makes a frame of a video from those before it.

Reference: Wang et al., "Video-to-Video Synthesis" (2018), and `CompositeGenerator` in
NVIDIA/vid2vid models/networks.py, at one spatial scale and without a generator of the foreground.
Its batch norm, of one image by its own statistics, is affine instance norm here: see
`layers.AffineInstanceNorm`.
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from sflow_jax.models.generator import Blocks, enlarge, halve, make_blocks, refine
from sflow_jax.models.layers import Conv, ReflectConv
from sflow_jax.ops.nn import pad_to_multiple
from sflow_jax.ops.warp import warp

# Pixels for each unit that the last layer puts out.
_FLOW_SCALE = 20.0


class SequentialOutput(NamedTuple):
    """A generated frame and what it is composed of, all float32.

    Attributes:
        image: `mask * raw + (1 - mask) * warp(last previous image, flow)`, [B, H, W, 3] in [-1, 1].
        raw: the frame that is drawn anew, likewise.
        flow: from this frame to the one before, [B, H, W, 2], pixels, x first.
        mask: the share of `raw`, [B, H, W, 1] in [0, 1].
    """

    image: jax.Array
    raw: jax.Array
    flow: jax.Array
    mask: jax.Array


class Encoder(nn.Module):
    """Half of a generator: stem, down and residual blocks.

    Attributes:
        width: channels of the stem.
        num_downsamplings: how often height and width are halved.
        num_blocks: residual blocks at the lowest resolution.
        block: the parts to build it of.
    """

    width: int
    num_downsamplings: int
    num_blocks: int
    block: Blocks

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps data [B, H, W, C] to [B, h, w, width * 2**num_downsamplings]; no gradient to it."""
        x = self.block.stem(self.width, name="stem")(x, None)
        x = halve(x, self.block, self.width, self.num_downsamplings)
        return refine(x, self.block, self.num_blocks)


class Decoder(nn.Module):
    """The other half: residual and up blocks.

    Attributes:
        width: channels of the result.
        num_upsamplings: how often height and width are doubled.
        num_blocks: residual blocks at the lowest resolution.
        block: the parts to build it of.
    """

    width: int
    num_upsamplings: int
    num_blocks: int
    block: Blocks

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps what `Encoder` returns to [B, H, W, width]."""
        x = refine(x, self.block, self.num_blocks)
        return enlarge(x, self.block, self.width, self.num_upsamplings)


class SequentialGenerator(nn.Module):
    """vid2vid's generator: moves the last frame along a flow, and draws anew what that leaves out.

    Two encoders, of the labels and of the frames before, are added; one decoder draws a frame, the
    other finds the flow and where to trust it. Sizes that cannot be halved `num_downsamplings`
    times are padded and the result is cropped back.

    Attributes:
        width: channels at full resolution (ngf).
        num_downsamplings: how often height and width are halved.
        num_blocks: residual blocks from labels to image; the larger half is the encoders'.
        dtype: type of the computation; parameters and norm statistics are float32 in any case.
        remat: computes the residual blocks again for the gradient, to save memory; XLA undoes that
            on a CPU.
        upsampling: a key of `layers.UPSAMPLINGS`; vid2vid's is `transposed`.
    """

    width: int = 128
    num_downsamplings: int = 3
    num_blocks: int = 9
    dtype: Any = jnp.float32
    remat: bool = False
    upsampling: str = "transposed"

    @nn.compact
    def __call__(self, condition: jax.Array, previous: jax.Array) -> SequentialOutput:
        """Generates the next frame.

        No gradient to the inputs is computed: the reference cuts it off between frames.

        Args:
            condition: one-hot labels (and boundaries) of the last frames and of this one, the
                frames' channels one after another, oldest first, [B, H, W, frames * C].
            previous: the images before, oldest first, [B, H, W, 6] in [-1, 1].
        """
        condition, previous = map(jax.lax.stop_gradient, (condition, previous))
        block = make_blocks(self.dtype, self.upsampling, self.remat, affine=True)
        x = self._encode(block, condition, previous)
        drawn = self._decoder(block, "image_decoder")(x)
        moved = self._decoder(block, "flow_decoder")(x)
        raw = jnp.tanh(self._head(3, drawn, "to_image"))
        flow = _FLOW_SCALE * self._head(2, moved, "to_flow")
        mask = jax.nn.sigmoid(self._head(1, moved, "to_mask"))
        height, width = condition.shape[1:3]
        raw, flow, mask = (x[:, :height, :width] for x in (raw, flow, mask))
        image = mask * raw + (1 - mask) * warp(previous[..., -3:], flow)
        return SequentialOutput(image, raw, flow, mask)

    def _encode(self, block: Blocks, condition: jax.Array, previous: jax.Array) -> jax.Array:
        """The features that both decoders see, at the lowest resolution."""
        encoder = functools.partial(
            Encoder, self.width, self.num_downsamplings, -(-self.num_blocks // 2), block
        )
        condition, previous = (
            pad_to_multiple(x.astype(self.dtype), 2**self.num_downsamplings)
            for x in (condition, previous)
        )
        labels = encoder(name="label_encoder")(condition)
        return labels + encoder(name="image_encoder")(previous)

    def _decoder(self, block: Blocks, name: str) -> Decoder:
        return Decoder(self.width, self.num_downsamplings, self.num_blocks // 2, block, name=name)

    def _head(self, features: int, x: jax.Array, name: str) -> jax.Array:
        """The last layer of a decoder, float32 [B, H, W, features]."""
        conv = functools.partial(Conv, dtype=self.dtype)
        head = ReflectConv(features, 7, use_bias=True, conv=conv, name=name)
        return head(x).astype(jnp.float32)
