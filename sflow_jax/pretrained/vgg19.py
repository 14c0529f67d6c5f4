"""The five VGG19 slices of the perceptual loss (eq. 6).

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2015),
configuration E, cut behind relu5_1; the weights are those of torchvision.
"""

import os
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sflow_jax import variables
from sflow_jax.pretrained import weights
from sflow_jax.pretrained.conversion import Conversion
from sflow_jax.pretrained.vgg import vgg_slices

NORMALIZATIONS = ("imagenet", "raw")

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

_NUM_CONVOLUTIONS = (2, 2, 4, 4, 1)  # up to relu5_1


class VGG19Features(nn.Module):
    """relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1 of VGG19.

    In torchvision's `vgg19().features` these are the outputs 1, 6, 11, 20 and 29.

    Attributes:
        normalize: `imagenet` moves the image to [0, 1] and normalizes it with ImageNet's mean and
            standard deviation, as the weights were trained; `raw` feeds [-1, 1] as pix2pixHD does.
        dtype: type of the computation.
    """

    normalize: str = "imagenet"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array) -> list[jax.Array]:
        """Computes the slices.

        Args:
            images: RGB [B, H, W, 3] in [-1, 1]; H and W at least 16.

        Returns:
            Five arrays, see `vgg_slices`.
        """
        return vgg_slices(_normalize(images, self.normalize), _NUM_CONVOLUTIONS, self.dtype)


def _normalize(images: jax.Array, mode: str) -> jax.Array:
    if mode == "raw":
        return images
    if mode == "imagenet":
        return ((images + 1) / 2 - jnp.array(_IMAGENET_MEAN)) / jnp.array(_IMAGENET_STD)
    raise ValueError(f"unknown normalization {mode!r}; expected one of {NORMALIZATIONS}")


def conversion() -> Conversion:
    """How torchvision's `vgg19-dcbb9e9d.pth` becomes the variables of `VGG19Features`.

    The classifier and the last three convolutions, which lie behind relu5_1, are not needed.
    """
    images = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    shapes = jax.eval_shape(VGG19Features().init, jax.random.key(0), images)
    keys = {}
    position = 0  # in torchvision's sequence of convolutions, ReLUs and pools
    for stage, count in enumerate(_NUM_CONVOLUTIONS, start=1):
        for index in range(1, count + 1):
            path = f"params/conv{stage}_{index}"
            keys[f"{path}/kernel"] = f"features.{position}.weight"
            keys[f"{path}/bias"] = f"features.{position}.bias"
            position += 2
        position += 1
    ignored = r"(classifier\.[036]|features\.(30|32|34))\.(weight|bias)"
    return Conversion(variables.shapes_of(shapes), keys, ignored)


def load(cache_dir: str | os.PathLike | None = None) -> dict[str, Any]:
    """Loads the converted weights.

    Args:
        cache_dir: the folder of the weights; by default $SFLOW_CACHE or ~/.cache/sflow_jax.

    Returns:
        The variables of `VGG19Features`: {'params': ...}.

    Raises:
        InputError: they are absent; the message has the command that gets them.
    """
    return weights.load("vgg19", cache_dir)
