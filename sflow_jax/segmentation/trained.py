"""A trained segmenter on disk: its weights, and next to them a JSON file of settings and scores."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sflow_jax import variables
from sflow_jax.errors import InputError
from sflow_jax.files import not_found, parse_json, write_json
from sflow_jax.segmentation import unet
from sflow_jax.segmentation.pspnet import BLOCKS, STRIDE, PSPNet
from sflow_jax.segmentation.scores import SegmentationScores
from sflow_jax.segmentation.unet import UNet

_STORED_TYPE = np.float16


def as_stored(network_variables: dict[str, Any]) -> dict[str, Any]:
    """The float32 variables that reading the written ones gives."""
    return jax.tree.map(lambda x: x.astype(_STORED_TYPE).astype(jnp.float32), network_variables)


def write_segmenter(
    path: pathlib.Path,
    network_variables: dict[str, Any],
    settings: dict[str, Any],
    scores: Mapping[str, SegmentationScores],
    class_names: Sequence[str],
) -> None:
    """Writes weights to `path` and, next to it, settings and scores as JSON.

    Args:
        path: NAME.safetensors.
        network_variables: stored as float16.
        settings: of the training; those of a PSPNet are needed to read it again.
        scores: by size of the images, 'WIDTHxHEIGHT'.
        class_names: of the scored classes.
    """
    report = {
        "settings": settings,
        "scores": {size: _rounded_scores(result, class_names) for size, result in scores.items()},
    }
    variables.write_variables(path, network_variables, {}, _STORED_TYPE)
    write_json(path.with_suffix(".json"), report)


def _rounded_scores(result: SegmentationScores, class_names: Sequence[str]) -> dict[str, Any]:
    values = dataclasses.asdict(result)
    classes = zip(class_names, map(_rounded, values.pop("class_iou")), strict=True)
    summary = {name: _rounded(value) for name, value in values.items()}
    return summary | {"class_iou": dict(classes)}


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)  # JSON knows no NaN


def read_segmenter(
    path: pathlib.Path, num_classes: int
) -> tuple[UNet | PSPNet, dict[str, Any], int]:
    """Reads what `python -m sflow_jax.train_segmenter` wrote.

    Args:
        path: the weights; the JSON of their settings and scores is next to them.
        num_classes: that it has to know.

    Returns:
        The network, its variables, and the side of a PSPNet's windows for `SlidingWindow`, 0 for
        the small network, which needs none.

    Raises:
        InputError: one of the files is absent, damaged or of another network.
    """
    if not path.is_file():
        raise not_found(path, "the weights of a segmenter")
    report = path.with_suffix(".json")
    try:
        settings = parse_json(report.read_text(encoding="utf-8"))["settings"]
        network: UNet | PSPNet = UNet(num_classes)
        crop = 0
        if "layers" in settings:
            blocks = BLOCKS[settings["layers"]]
            outputs, width = _whole(settings, "num_classes", 255), _whole(settings, "width", 1024)
            network, crop = PSPNet(outputs, blocks, width), _whole(settings, "crop", 16_384)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{report}: {error!r}; expected the settings of a segmenter") from error
    if network.num_classes != num_classes:
        raise InputError(
            f"{path}: found {network.num_classes} classes, expected the dataset's {num_classes}"
        )
    shapes = pspnet_shapes(network) if isinstance(network, PSPNet) else unet_shapes(network)
    return network, variables.read_variables(path, shapes), crop


def _whole(settings: Mapping[str, Any], name: str, most: int) -> int:
    value = settings[name]
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"found {name} {value!r}, expected 1 to {most}")
    return value


def unet_shapes(network: UNet) -> variables.Shapes:
    """Of every variable, by path."""
    images = jax.ShapeDtypeStruct((1, unet.STRIDE, unet.STRIDE, 3), jnp.float32)
    return variables.shapes_of(jax.eval_shape(network.init, jax.random.key(0), images))


def pspnet_shapes(network: PSPNet) -> variables.Shapes:
    """Of every variable, by path, with the auxiliary head that only training uses."""
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    images = jax.ShapeDtypeStruct((2, STRIDE + 1, STRIDE + 1, 3), jnp.float32)
    return variables.shapes_of(jax.eval_shape(network.clone(training=True).init, keys, images))
