"""PSPNet with the weights of hszhao/semseg, trained on Cityscapes' 19 classes, or with one's own.

`semseg_protocol.probabilities` applies it to an image as its authors do.
"""

import functools
import json
import os
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

from sflow_jax.errors import InputError
from sflow_jax.models.pspnet import BLOCKS, STRIDE, PSPNet
from sflow_jax.pretrained import conversion as conversions
from sflow_jax.pretrained import variables, weights


@functools.cache
def conversion(layers: int = 50) -> conversions.Conversion:
    """How semseg's checkpoint becomes the variables of `PSPNet`, auxiliary head included.

    The batch norms' counters of training steps are not needed.

    Args:
        layers: a key of `BLOCKS`.
    """
    shapes = _shapes(PSPNet(blocks=BLOCKS[layers]))
    return conversions.Conversion(
        shapes, conversions.torch_keys(shapes), ignored_keys=r".*\.num_batches_tracked"
    )


def _shapes(network: PSPNet) -> variables.Shapes:
    """Of every variable, by path, with the auxiliary head that only training uses."""
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    images = jax.ShapeDtypeStruct((2, STRIDE + 1, STRIDE + 1, 3), jnp.float32)
    return variables.shapes_of(jax.eval_shape(network.clone(training=True).init, keys, images))


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


def load_trained(path: pathlib.Path) -> tuple[PSPNet, dict[str, Any], int]:
    """Loads what `python -m sflow_jax.segmenter --network pspnet` wrote.

    Args:
        path: the weights; the JSON of their settings and scores lies beside them.

    Returns:
        The network, its variables, and the side of the windows for `semseg_protocol.Protocol`.

    Raises:
        InputError: one of the files is absent, damaged or of another network.
    """
    if not path.is_file():
        raise InputError(f"{path}: not found; expected the weights of a PSPNet")
    report = path.with_suffix(".json")
    try:
        settings = json.loads(report.read_text())["settings"]
        blocks = BLOCKS[settings["layers"]]
        network = PSPNet(settings["num_classes"], blocks, settings["width"])
        crop = settings["crop"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{report}: {error!r}; expected the settings of a PSPNet") from error
    return network, variables.read(path, _shapes(network)), crop
