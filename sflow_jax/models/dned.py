"""DNED, the deep neural edge detector, which predicts edges as an ensemble of side outputs.

Paper section 3.2. The topology is that of HED (Xie and Tu, "Holistically-Nested Edge Detection",
2015): VGG16's five convolutional stages, a side output after each, and their fusion.
"""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sflow_jax.models.layers import Conv
from sflow_jax.ops.nn import max_pool_2x2, relu

NUM_SIDE_OUTPUTS = 6  # N of eq. 4: five sides and their fusion

CONVOLUTIONS_PER_STAGE = (2, 2, 3, 3, 3)
_WIDTH_FACTORS = (1, 2, 4, 8, 8)


class DNED(nn.Module):
    """Five side outputs and their fusion, as logits.

    Attributes:
        width: channels of the first stage; HED has 64.
        dtype: type of the computation.
    """

    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        """Predicts edges.

        Args:
            x: [B, H, W, C], the edge map (C = 1) or an image; H and W at least 16.

        Returns:
            Six float32 logits [B, H, W, 1]: `d_1` (finest) to `d_5` (coarsest), then the fusion.
        """
        conv = functools.partial(Conv, dtype=self.dtype)
        size = x.shape[1:3]
        side_outputs = []
        stages = zip(CONVOLUTIONS_PER_STAGE, _WIDTH_FACTORS, strict=True)
        for stage, (num_convolutions, factor) in enumerate(stages, start=1):
            if stage > 1:
                x = max_pool_2x2(x)
            for index in range(1, num_convolutions + 1):
                layer = conv(
                    self.width * factor,
                    (3, 3),
                    padding=1,
                    kernel_init=nn.initializers.he_normal(),
                    name=f"conv{stage}_{index}",
                )
                x = relu(layer(x))
            side = conv(1, (1, 1), name=f"side_{stage}")(x)
            side_outputs.append(_resize_bilinear(side.astype(jnp.float32), size))
        fuse = Conv(1, (1, 1), kernel_init=nn.initializers.constant(0.2), name="fuse")
        fusion = fuse(jnp.concatenate(side_outputs, axis=-1))
        return [*side_outputs, fusion]


def _resize_bilinear(x: jax.Array, size: Sequence[int]) -> jax.Array:
    shape = (x.shape[0], *size, x.shape[-1])
    return jax.image.resize(x, shape, "bilinear", antialias=False)


def combine(side_outputs: Sequence[jax.Array], weights: jax.Array | None = None) -> jax.Array:
    """Averages the side outputs into one edge map, a member of the ensemble.

    Args:
        side_outputs: N logits [B, H, W, 1].
        weights: [N] or [B, N], not negative, not all zero; normalized here. All equal by default.

    Returns:
        float32 edge map [B, H, W, 1] in [0, 1], the weighted mean of the edge probabilities.
    """
    probabilities = jax.nn.sigmoid(jnp.stack(side_outputs, axis=-1))  # [B, H, W, 1, N]
    if weights is None:
        return probabilities.mean(-1)
    weights = jnp.atleast_2d(weights)
    weights = weights / weights.sum(-1, keepdims=True)
    return (probabilities * weights[:, None, None, None, :]).sum(-1)


def sample_ensemble_weights(key: jax.Array, concentration: float = 1.0) -> jax.Array:
    """Draws ensemble weights from a symmetric Dirichlet distribution.

    Args:
        key: a random key.
        concentration: 1 is uniform over all weightings; large values approach the plain mean.

    Returns:
        float32 [N], positive, of sum 1.
    """
    return jax.random.dirichlet(key, jnp.full(NUM_SIDE_OUTPUTS, concentration))
