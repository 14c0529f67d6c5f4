"""The frozen network of the perceptual loss (eq. 6)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import ml_collections

Params = Any
Features = Callable[[Params, jax.Array], list[jax.Array]]


@dataclasses.dataclass(frozen=True)
class PerceptualNetwork:
    """Five slices of a frozen network.

    Attributes:
        features: (params, images [B, H, W, 3] in [-1, 1]) to five feature maps, finest first.
        params: its parameters; an argument of the train step, since constants of 80 MB inside a
            compiled function cost compilation time and memory.
    """

    features: Features
    params: Params


def load_perceptual_network(config: ml_collections.ConfigDict) -> PerceptualNetwork | None:
    """Loads the network that `config.loss` names; None where its weight is 0.

    Raises:
        InputError: its weights are absent; the message has the command that gets them.
    """
    if config.loss.perceptual_weight == 0:
        return None
    dtype = jnp.dtype(config.train.compute_dtype)
    if config.loss.perceptual_network == "streets":
        from sflow_jax.pretrained import streets_segmenter

        features = functools.partial(streets_segmenter.features, dtype=dtype)
        return PerceptualNetwork(features, streets_segmenter.load("features"))
    if config.loss.perceptual_network == "hed_vgg16":
        from sflow_jax.pretrained import hed

        return PerceptualNetwork(cast(Features, hed.HEDFeatures(dtype).apply), hed.load())
    from sflow_jax.pretrained import vgg19

    network = vgg19.VGG19Features(normalize=config.loss.perceptual_input, dtype=dtype)
    return PerceptualNetwork(cast(Features, network.apply), vgg19.load())
