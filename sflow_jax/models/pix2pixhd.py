"""pix2pixHD's encoder of instance features, which tell instances of one look from those of another.

Reference: section 3.4 of Wang et al. (2018), and `Encoder` in NVIDIA/pix2pixHD models/networks.py.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sflow_jax.models.generator import GlobalTrunk, make_blocks
from sflow_jax.models.layers import Conv, ReflectConv
from sflow_jax.ops.instances import instance_means
from sflow_jax.ops.nn import pad_to_multiple


class InstanceEncoder(nn.Module):
    """The global generator's layers without residual blocks, then the mean over each instance.

    Attributes:
        num_features: of every instance.
        width: channels of the first layer (nef).
        num_downsamplings: halvings, each undone by a doubling.
        dtype: type of the computation.
    """

    num_features: int = 3
    width: int = 16
    num_downsamplings: int = 4
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, instance: jax.Array) -> jax.Array:
        """Describes the instances of images.

        Args:
            image: [B, H, W, 3] in [-1, 1]; no gradient to it is computed.
            instance: their ids, uint16 [B, H, W, 1].

        Returns:
            float32 [B, H, W, num_features] in [-1, 1], the same all over an instance.
        """
        height, width = image.shape[1:3]
        x = pad_to_multiple(image.astype(self.dtype), 2**self.num_downsamplings)
        block = make_blocks(self.dtype, "transposed", remat=False)
        trunk = GlobalTrunk(self.width, self.num_downsamplings, 0, block, name="trunk")
        conv = functools.partial(Conv, dtype=self.dtype)
        last = ReflectConv(self.num_features, 7, use_bias=True, conv=conv, name="to_features")
        features = jnp.tanh(last(trunk(x, None)).astype(jnp.float32))
        return instance_means(features[:, :height, :width], instance)
