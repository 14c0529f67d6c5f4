"""Inception-v3 as the Fréchet inception distance wants it: the 2015-12-05 weights, four depths.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision" (2016), in the variant
of the checkpoint that Heusel et al. (2017) chose. It differs from torchvision's network: average
pools leave their padding out, the last block has a max pool in its place, and the classifier (not
needed here) knows 1008 classes. Modules have the names of PyTorch's checkpoint.
"""

import functools
import os
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from sflow_jax import variables
from sflow_jax.models.layers import Conv
from sflow_jax.pretrained import conversion as conversions
from sflow_jax.pretrained import weights

DEPTHS = (64, 192, 768, 2048)

_EPSILON = 1e-3
_SMALLEST_SIDE = 75  # Mixed_7a then has one pixel left


class _Unit(nn.Module):
    """Convolution without bias, batch norm with stored statistics, ReLU."""

    channels: int
    kernel: int | tuple[int, int] = 1
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = (self.kernel, self.kernel) if isinstance(self.kernel, int) else self.kernel
        x = Conv(
            self.channels,
            kernel,
            self.stride,
            self.padding,
            use_bias=False,
            precision="highest",  # GPU and TPU would multiply in a coarser type
            name="conv",
        )(x)
        return nn.relu(nn.BatchNorm(True, epsilon=_EPSILON, name="bn")(x))


def _chain(x: jax.Array, **units: tuple) -> jax.Array:
    """Units in a row, by name; each is given by its arguments."""
    for name, arguments in units.items():
        x = _Unit(*arguments, name=name)(x)
    return x


def _average_pool(x: jax.Array) -> jax.Array:
    return nn.avg_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)), count_include_pad=False)


def _max_pool(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))


def _halving_pool(x: jax.Array) -> jax.Array:
    return nn.max_pool(x, (3, 3), (2, 2))


class _BlockA(nn.Module):
    """Mixed_5b to Mixed_5d: 5x5 and twice 3x3."""

    pool_channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        branches = (
            _chain(x, branch1x1=(64,)),
            _chain(x, branch5x5_1=(48,), branch5x5_2=(64, 5)),
            _chain(x, branch3x3dbl_1=(64,), branch3x3dbl_2=(96, 3), branch3x3dbl_3=(96, 3)),
            _chain(_average_pool(x), branch_pool=(self.pool_channels,)),
        )
        return jnp.concatenate(branches, axis=-1)


class _BlockB(nn.Module):
    """Mixed_6a, which halves."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        branches = (
            _chain(x, branch3x3=(384, 3, 2, "VALID")),
            _chain(
                x,
                branch3x3dbl_1=(64,),
                branch3x3dbl_2=(96, 3),
                branch3x3dbl_3=(96, 3, 2, "VALID"),
            ),
            _halving_pool(x),
        )
        return jnp.concatenate(branches, axis=-1)


class _BlockC(nn.Module):
    """Mixed_6b to Mixed_6e: 7x7 as rows and columns."""

    channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels, row, column = self.channels, (1, 7), (7, 1)
        branches = (
            _chain(x, branch1x1=(192,)),
            _chain(
                x,
                branch7x7_1=(channels,),
                branch7x7_2=(channels, row),
                branch7x7_3=(192, column),
            ),
            _chain(
                x,
                branch7x7dbl_1=(channels,),
                branch7x7dbl_2=(channels, column),
                branch7x7dbl_3=(channels, row),
                branch7x7dbl_4=(channels, column),
                branch7x7dbl_5=(192, row),
            ),
            _chain(_average_pool(x), branch_pool=(192,)),
        )
        return jnp.concatenate(branches, axis=-1)


class _BlockD(nn.Module):
    """Mixed_7a, which halves."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        branches = (
            _chain(x, branch3x3_1=(192,), branch3x3_2=(320, 3, 2, "VALID")),
            _chain(
                x,
                branch7x7x3_1=(192,),
                branch7x7x3_2=(192, (1, 7)),
                branch7x7x3_3=(192, (7, 1)),
                branch7x7x3_4=(192, 3, 2, "VALID"),
            ),
            _halving_pool(x),
        )
        return jnp.concatenate(branches, axis=-1)


class _BlockE(nn.Module):
    """Mixed_7b and Mixed_7c: 3x3 split into a row and a column in parallel."""

    pool: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        row, column = (384, (1, 3)), (384, (3, 1))
        single = _chain(x, branch3x3_1=(384,))
        double = _chain(x, branch3x3dbl_1=(448,), branch3x3dbl_2=(384, 3))
        branches = (
            _chain(x, branch1x1=(320,)),
            _chain(single, branch3x3_2a=row),
            _chain(single, branch3x3_2b=column),
            _chain(double, branch3x3dbl_3a=row),
            _chain(double, branch3x3dbl_3b=column),
            _chain(self.pool(x), branch_pool=(192,)),
        )
        return jnp.concatenate(branches, axis=-1)


class InceptionV3(nn.Module):
    """The feature maps behind both early max pools, before the auxiliary head, and at the end."""

    @nn.compact
    def __call__(self, images: jax.Array) -> dict[int, jax.Array]:
        """Computes the maps.

        Args:
            images: float32 RGB [B, H, W, 3] in [-1, 1], as `metrics.inception_input` prepares
                them: 299 pixels a side for any published metric, at least 75 for the network.

        Returns:
            float32 maps by their number of channels; of 299 pixels [B, 73, 73, 64],
            [B, 35, 35, 192], [B, 17, 17, 768] and [B, 8, 8, 2048].
        """
        if min(images.shape[1:3]) < _SMALLEST_SIDE:
            raise ValueError(f"images are {images.shape}, expected at least 75 pixels a side")
        maps = {}
        x = _chain(
            images,
            Conv2d_1a_3x3=(32, 3, 2, "VALID"),
            Conv2d_2a_3x3=(32, 3, 1, "VALID"),
            Conv2d_2b_3x3=(64, 3),
        )
        x = maps[64] = _halving_pool(x)
        x = _chain(x, Conv2d_3b_1x1=(80,), Conv2d_4a_3x3=(192, 3, 1, "VALID"))
        x = maps[192] = _halving_pool(x)
        for name, pool_channels in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
            x = _BlockA(pool_channels, name=name)(x)
        x = _BlockB(name="Mixed_6a")(x)
        for name, channels in zip("bcde", (128, 160, 160, 192), strict=True):
            x = _BlockC(channels, name=f"Mixed_6{name}")(x)
        maps[768] = x
        x = _BlockD(name="Mixed_7a")(x)
        x = _BlockE(_average_pool, name="Mixed_7b")(x)
        maps[2048] = _BlockE(_max_pool, name="Mixed_7c")(x)
        return maps


def features(network_variables: dict[str, Any], images: jax.Array, depth: int = 2048) -> jax.Array:
    """The map of one depth averaged over its pixels, as every metric on Inception-v3 uses it.

    Args:
        network_variables: from `load`.
        images: float32 RGB [B, H, W, 3] in [-1, 1]; see `InceptionV3`.
        depth: one of `DEPTHS`; 2048 is that of FID, KID, precision and recall.

    Returns:
        float32 [B, depth].
    """
    maps = cast(dict[int, jax.Array], InceptionV3().apply(network_variables, images))
    return maps[depth].mean((1, 2))


@functools.cache
def conversion() -> conversions.Conversion:
    """How `pt_inception-2015-12-05-6726825d.pth` becomes the variables of `InceptionV3`.

    The classifier `fc` and the batch norms' counters of training steps are not needed.
    """
    images = jax.ShapeDtypeStruct((1, _SMALLEST_SIDE, _SMALLEST_SIDE, 3), jnp.float32)
    shapes = variables.shapes_of(jax.eval_shape(InceptionV3().init, jax.random.key(0), images))
    ignored = r"fc\.(weight|bias)|.*\.bn\.num_batches_tracked"
    return conversions.Conversion(shapes, conversions.torch_keys(shapes), ignored)


def load(cache_dir: str | os.PathLike | None = None) -> dict[str, Any]:
    """Loads the converted weights.

    Args:
        cache_dir: the folder of the weights; by default $SFLOW_CACHE or ~/.cache/sflow_jax.

    Returns:
        The variables of `InceptionV3`: {'params': ..., 'batch_stats': ...}.

    Raises:
        InputError: they are absent; the message has the command that gets them.
    """
    return weights.load("inception_v3", cache_dir)
