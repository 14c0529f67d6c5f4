"""PatchGAN discriminators at one or several scales, which also return their features.

Reference: `MultiscaleDiscriminator` and `NLayerDiscriminator` in NVIDIA/pix2pixHD
models/networks.py; the receptive field of the default is 70x70 pixels.
With a padding of 1 and affine norms it is pix2pix's, with affine norms and `widest` 64 vid2vid's.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sflow_jax.models.layers import INITIALIZER, Conv, normalize
from sflow_jax.ops.nn import average_pool_3x3

MAX_FEATURES = 512


class PatchDiscriminator(nn.Module):
    """One PatchGAN.

    Attributes:
        width: channels of the first layer (ndf); doubled per layer up to 512.
        num_layers: layers of stride 2; one of stride 1 and the one that scores follow.
        dtype: type of the computation.
        padding: of all convolutions; pix2pixHD's is 2, pix2pix's 1.
        affine: whether the norms have scales and biases, as in pix2pix.
    """

    width: int = 64
    num_layers: int = 3
    dtype: Any = jnp.float32
    padding: int = 2
    affine: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """Scores patches.

        Args:
            x: [B, H, W, C], the condition and the image as one array.

        Returns:
            The features of each of the `num_layers + 2` layers; the last is the score of every
            patch, [B, h, w, 1], without an output nonlinearity.
        """
        conv = functools.partial(Conv, dtype=self.dtype, kernel_init=INITIALIZER)
        features = []
        for layer in range(self.num_layers + 2):
            is_last = layer == self.num_layers + 1
            is_normed = layer > 0 and not is_last
            conv_layer = conv(
                1 if is_last else min(self.width * 2**layer, MAX_FEATURES),
                (4, 4),
                strides=2 if layer < self.num_layers else 1,
                padding=self.padding,
                use_bias=not is_normed,
                name=f"conv_{layer}",
            )
            x = conv_layer(x)
            if is_normed:
                x = normalize(x, self.affine, name=f"norm_{layer}")
            if not is_last:
                x = nn.leaky_relu(x, 0.2)
            features.append(x)
        return features


class MultiScaleDiscriminator(nn.Module):
    """`D_k` of eqs. 5 and 7: the same PatchGAN on the image, on its half, on its quarter.

    Attributes:
        num_scales: discriminators (k); the paper claims that one is enough.
        width: channels of the first layer (ndf).
        num_layers: layers of stride 2 in each discriminator.
        dtype: type of the computation.
        padding: of all convolutions; pix2pixHD's is 2, pix2pix's 1.
        affine: whether the norms have scales and biases, as in pix2pix.
        widest: where given, every coarser scale has twice the width of the finer one, up to this;
            64 in vid2vid. Otherwise all have the same.
    """

    num_scales: int = 1
    width: int = 64
    num_layers: int = 3
    dtype: Any = jnp.float32
    padding: int = 2
    affine: bool = False
    widest: int | None = None

    @nn.compact
    def __call__(self, condition: jax.Array, image: jax.Array) -> list[list[jax.Array]]:
        """Scores an image under its condition.

        Args:
            condition: [B, H, W, C], the one-hot label map (with the edge map where D sees it).
            image: [B, H, W, 3] in [-1, 1], real or fake; or several frames, one after another.

        Returns:
            For every scale, full size first, the features of `PatchDiscriminator`.
        """
        x = jnp.concatenate([condition.astype(image.dtype), image], axis=-1)
        discriminator = functools.partial(
            PatchDiscriminator,
            num_layers=self.num_layers,
            dtype=self.dtype,
            padding=self.padding,
            affine=self.affine,
        )
        outputs = []
        for scale in range(self.num_scales):
            if scale > 0:
                x = average_pool_3x3(x)
            outputs.append(discriminator(self._width_of(scale), name=f"scale_{scale}")(x))
        return outputs

    def _width_of(self, scale: int) -> int:
        return self.width if self.widest is None else min(self.width * 2**scale, self.widest)
