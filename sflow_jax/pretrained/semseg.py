"""PSPNet with the weights of hszhao/semseg, trained on Cityscapes' 19 classes.

`segmentation.sliding_window` applies it to an image as its authors do.
"""

import functools
import os
from typing import Any

from sflow_jax.pretrained import conversion as conversions
from sflow_jax.pretrained import weights
from sflow_jax.segmentation.pspnet import BLOCKS, PSPNet
from sflow_jax.segmentation.trained import pspnet_shapes


@functools.cache
def conversion(layers: int = 50) -> conversions.Conversion:
    """How semseg's checkpoint becomes the variables of `PSPNet`, auxiliary head included.

    The batch norms' counters of training steps are not needed.

    Args:
        layers: a key of `BLOCKS`.
    """
    shapes = pspnet_shapes(PSPNet(blocks=BLOCKS[layers]))
    return conversions.Conversion(
        shapes, conversions.torch_keys(shapes), ignored_keys=r".*\.num_batches_tracked"
    )


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
