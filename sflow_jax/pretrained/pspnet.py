"""PSPNet with the weights of hszhao/semseg, trained on Cityscapes' 19 classes.

`semseg_protocol.probabilities` applies it to an image as its authors do.
"""

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp

from sflow_jax.models.pspnet import BLOCKS, PSPNet
from sflow_jax.pretrained import conversion as conversions
from sflow_jax.pretrained import variables, weights


@functools.cache
def conversion(layers: int = 50) -> conversions.Conversion:
    """How semseg's checkpoint becomes the variables of `PSPNet`, auxiliary head included.

    The batch norms' counters of training steps are not needed.

    Args:
        layers: a key of `BLOCKS`.
    """
    network = PSPNet(blocks=BLOCKS[layers], training=True)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    images = jax.ShapeDtypeStruct((2, 9, 9, 3), jnp.float32)
    shapes = variables.shapes_of(jax.eval_shape(network.init, keys, images))
    ignored = r".*\.num_batches_tracked"
    return conversions.Conversion(shapes, conversions.torch_keys(shapes), ignored)


def load(layers: int = 50, cache_dir: str | os.PathLike | None = None) -> dict[str, Any]:
    """Loads the converted weights.

    Args:
        layers: of the ResNet, 50 or 101.
        cache_dir: the folder of the weights; by default $SFLOW_CACHE or ~/.cache/sflow_jax.

    Returns:
        The variables of `PSPNet(blocks=BLOCKS[layers])`: {'params': ..., 'batch_stats': ...}.

    Raises:
        InputError: they are absent; the message says how to get them.
    """
    return weights.load(f"pspnet{layers}_cityscapes", cache_dir)
