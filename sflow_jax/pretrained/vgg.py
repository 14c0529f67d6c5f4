"""The layers that VGG16 and VGG19 share, cut into the slices of a perceptual loss.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2015):
configurations D (VGG16) and E (VGG19) differ in the number of convolutions of their stages.
"""

from collections.abc import Sequence
from typing import Any

import jax

from sflow_jax.models.layers import Conv
from sflow_jax.ops.nn import max_pool_2x2, relu

_CHANNELS = (64, 128, 256, 512, 512)


def vgg_slices(x: jax.Array, num_convolutions: Sequence[int], dtype: Any) -> list[jax.Array]:
    """Computes relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1, inside a compact Flax module.

    The convolutions become modules of the caller, `conv1_1` to `conv5_1`.

    Args:
        x: [B, H, W, 3], normalized as the weights were trained; H and W at least 16.
        num_convolutions: of each of the five stages; of the last one only the first is needed.
        dtype: type of the computation.

    Returns:
        Five arrays of the type `dtype`: [B, H, W, 64], [B, H/2, W/2, 128], [B, H/4, W/4, 256],
        [B, H/8, W/8, 512], [B, H/16, W/16, 512], sides rounded down.
    """
    slices = []
    for stage, (channels, count) in enumerate(zip(_CHANNELS, num_convolutions, strict=True), 1):
        if stage > 1:
            x = max_pool_2x2(x)
        for index in range(1, count + 1):
            name = f"conv{stage}_{index}"
            x = relu(Conv(channels, (3, 3), padding=1, dtype=dtype, name=name)(x))
            if index == 1:
                slices.append(x)
    return slices
