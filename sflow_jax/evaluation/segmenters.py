"""Which segmenter scores a run: the shipped one, PSPNet with semseg's weights, or one's own."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import cast

import jax
import numpy as np

from sflow_jax import devices
from sflow_jax.data.labels import CITYSCAPES, ClassTable
from sflow_jax.errors import InputError
from sflow_jax.metrics import semseg_protocol
from sflow_jax.metrics.picture_scores import Predict
from sflow_jax.models.pspnet import BLOCKS, PSPNet
from sflow_jax.ops.pixels import to_float
from sflow_jax.pretrained import pspnet, streets_segmenter

PUBLISHED = {f"pspnet{layers}": layers for layers in BLOCKS}


@dataclasses.dataclass(frozen=True)
class NamedSegmenter:
    """A segmenter and what to call its scores.

    Attributes:
        title: for people.
        predict: labels pictures with eval ids.
    """

    title: str
    predict: Predict


def load_streets() -> NamedSegmenter:
    """The segmenter for `streets` that ships with the package."""
    variables = devices.Variables(streets_segmenter.load("evaluator"))

    def predict(pictures: np.ndarray) -> np.ndarray:
        images = to_float(devices.split(pictures))
        return np.asarray(streets_segmenter.predict(variables.beside(len(pictures)), images))

    return NamedSegmenter("the segmenter shipped for streets", predict)


def load_published(
    name: str, class_table: ClassTable, scales: Sequence[float] = (1.0,)
) -> NamedSegmenter:
    """PSPNet with semseg's weights for Cityscapes, in its test protocol.

    Args:
        name: a key of `PUBLISHED`.
        class_table: of the dataset.
        scales: see `semseg_protocol.Protocol`.

    Raises:
        InputError: the dataset is scored by other classes, or the weights are absent; the message
            says how to get them.
    """
    if class_table.eval_names != CITYSCAPES.eval_names:
        raise InputError(
            f"--segmenter: found {name}, which knows Cityscapes' classes, expected one that was "
            f"trained on those of {class_table.name!r}: python -m sflow_jax.segmenter"
        )
    layers = PUBLISHED[name]
    network = PSPNet(blocks=BLOCKS[layers])
    predict = _sliding(network, pspnet.load(layers), semseg_protocol.Protocol(scales=scales))
    title = f"PSPNet-{layers} with semseg's weights and test protocol"
    return NamedSegmenter(title + _describe(scales), predict)


def load_own(
    path: pathlib.Path, class_table: ClassTable, scales: Sequence[float] = (1.0,)
) -> NamedSegmenter:
    """A PSPNet that `python -m sflow_jax.segmenter --network pspnet` trained.

    Images keep their size, as when that command scored it.

    Args:
        path: the weights.
        class_table: of the dataset.
        scales: see `semseg_protocol.Protocol`.

    Raises:
        InputError: the files are absent or damaged, or the number of classes is another.
    """
    network, variables, crop = pspnet.load_trained(path)
    if network.num_classes != class_table.num_eval_classes:
        raise InputError(
            f"{path}: found {network.num_classes} classes, expected the "
            f"{class_table.num_eval_classes} of {class_table.name!r}"
        )
    protocol = semseg_protocol.Protocol(crop=crop, scales=scales)
    predict = _sliding(network, variables, protocol, keeps_size=True)
    return NamedSegmenter(f"PSPNet in {path}{_describe(scales)}", predict)


def _describe(scales: Sequence[float]) -> str:
    return "" if len(scales) == 1 else f" at the scales {', '.join(map(str, scales))}"


def _sliding(
    network: PSPNet,
    variables: dict,
    protocol: semseg_protocol.Protocol,
    keeps_size: bool = False,
) -> Predict:
    """Labels pictures one by one; all windows have one shape, so that it compiles once."""

    @jax.jit
    def apply(variables: dict, windows: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("float32"):  # no coarser type on GPU and TPU
            return cast(jax.Array, network.apply(variables, windows))

    logits = functools.partial(apply, jax.device_put(variables))

    def predict(pictures: np.ndarray) -> np.ndarray:
        used = protocol
        if keeps_size:
            used = dataclasses.replace(protocol, base_size=max(pictures.shape[1:3]))
        return np.stack([semseg_protocol.predict(logits, image, used) for image in pictures])

    return predict
