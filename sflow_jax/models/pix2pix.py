"""The generator of pix2pix, a U-Net with dropout for noise.

Reference: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks" (2017),
its models.lua, and `UnetGenerator` in junyanz/pytorch-CycleGAN-and-pix2pix models/networks.py. Its
batch norm, of one image by its own statistics, is affine instance norm here: see
`layers.AffineInstanceNorm`.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sflow_jax.models.layers import INITIALIZER, AffineInstanceNorm, Conv, UpsampleConv4x4
from sflow_jax.ops.nn import dropout, pad_to_multiple, relu

MAX_WIDENING = 8
# The first layers of the decoder that are so wide: "CD512-CD512-CD512" in the paper's appendix.
_NUM_DROPOUTS = 3


class UNetGenerator(nn.Module):
    """Halves an image down to a bottleneck and doubles it again, with a skip at every size.

    Sizes that cannot be halved `num_downsamplings` times are padded and the result is cropped back.

    Attributes:
        width: channels of the first layer (ngf); doubled per layer up to eight times as many.
        num_downsamplings: how often height and width are halved; 8 for 256 pixels.
        dtype: type of the computation.
    """

    width: int = 64
    num_downsamplings: int = 8
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, condition: jax.Array, noise: jax.Array | None = None) -> jax.Array:
        """Generates images.

        Args:
            condition: the label map, in colors or one-hot, [B, H, W, C].
            noise: keys [B] of the dropout, which the method needs in use as well: equal keys for
                the frames of a clip make no flicker. None drops nothing.

        Returns:
            float32 images [B, H, W, 3] in [-1, 1].
        """
        height, width = condition.shape[1:3]
        x = pad_to_multiple(condition.astype(self.dtype), 2**self.num_downsamplings, least=1)
        skips = self._encode(x)
        x = self._decode(skips, noise)
        return jnp.tanh(x.astype(jnp.float32))[:, :height, :width]

    def _features(self, level: int) -> int:
        return self.width * min(2**level, MAX_WIDENING)

    def _encode(self, x: jax.Array) -> list[jax.Array]:
        conv = functools.partial(
            Conv, kernel_size=(4, 4), strides=2, padding=1, use_bias=False, dtype=self.dtype
        )
        features = []
        for level in range(self.num_downsamplings):
            is_first, is_last = level == 0, level == self.num_downsamplings - 1
            if not is_first:
                x = nn.leaky_relu(x, 0.2)
            x = conv(self._features(level), kernel_init=INITIALIZER, name=f"down_{level}")(x)
            if not (is_first or is_last):
                x = AffineInstanceNorm(name=f"down_norm_{level}")(x)
            features.append(x)
        return features

    def _decode(self, skips: list[jax.Array], noise: jax.Array | None) -> jax.Array:
        *skips, x = skips
        for level in reversed(range(1, self.num_downsamplings)):
            up = UpsampleConv4x4(self._features(level - 1), self.dtype, name=f"up_{level}")
            x = AffineInstanceNorm(name=f"up_norm_{level}")(up(relu(x)))
            depth = self.num_downsamplings - 1 - level
            is_wide = x.shape[-1] == self.width * MAX_WIDENING
            if noise is not None and is_wide and depth < _NUM_DROPOUTS:
                keys = jax.vmap(lambda key, depth=depth: jax.random.fold_in(key, depth))(noise)
                x = dropout(keys, x)
            x = jnp.concatenate([skips.pop(), x], -1)
        bias = self.param("bias", nn.initializers.zeros, (3,))
        return UpsampleConv4x4(3, self.dtype, name="up_0")(relu(x)) + bias.astype(self.dtype)
