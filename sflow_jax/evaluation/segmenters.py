"""Which segmenter scores a run: the shipped one, PSPNet with semseg's weights, or one's own."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from sflow_jax import sharding
from sflow_jax.data.labels import CITYSCAPES, ClassTable
from sflow_jax.errors import InputError
from sflow_jax.ops.pixels import to_float
from sflow_jax.pretrained import semseg, streets_segmenter
from sflow_jax.segmentation.labeling import Predict, predict_with_pspnet, predict_with_unet
from sflow_jax.segmentation.pspnet import BLOCKS, PSPNet
from sflow_jax.segmentation.sliding_window import SlidingWindow
from sflow_jax.segmentation.trained import read_segmenter
from sflow_jax.segmentation.unet import UNet

STREETS_TITLE = "the segmenter shipped for streets"
PUBLISHED = {f"pspnet{layers}": layers for layers in BLOCKS}


@dataclasses.dataclass(frozen=True)
class NamedSegmenter:
    """A segmenter and what to call its scores.

    Attributes:
        title: for people.
        predict: labels pictures with eval ids.
        is_shipped: whether it is the one for `streets` that ships with the package.
    """

    title: str
    predict: Predict
    is_shipped: bool = False


def load_streets() -> NamedSegmenter:
    """The segmenter for `streets` that ships with the package."""
    variables = sharding.PlacedVariables(streets_segmenter.load("evaluator"))

    def predict(pictures: np.ndarray) -> np.ndarray:
        images = to_float(sharding.spread(pictures))
        return np.asarray(streets_segmenter.predict(variables.matching(len(pictures)), images))

    title = f"{STREETS_TITLE}, a small U-Net of other streets (seed 1)"
    return NamedSegmenter(title, predict, is_shipped=True)


def load_published(
    name: str, class_table: ClassTable, scales: Sequence[float] = (1.0,)
) -> NamedSegmenter:
    """PSPNet with semseg's weights for Cityscapes, in its test protocol.

    Args:
        name: a key of `PUBLISHED`.
        class_table: of the dataset.
        scales: see `SlidingWindow`.

    Raises:
        InputError: the dataset is scored by other classes, or the weights are absent; the message
            says how to get them.
    """
    if class_table.eval_names != CITYSCAPES.eval_names:
        raise InputError(
            f"--segmenter: found {name}, which knows Cityscapes' classes, expected one that was "
            f"trained on those of {class_table.name!r}: python -m sflow_jax.train_segmenter"
        )
    layers = PUBLISHED[name]
    network = PSPNet(blocks=BLOCKS[layers])
    predict = predict_with_pspnet(network, semseg.load(layers), SlidingWindow(scales=scales))
    title = f"PSPNet-{layers} with semseg's weights and test protocol"
    return NamedSegmenter(title + _describe(scales), predict)


def load_own(
    path: pathlib.Path, class_table: ClassTable, scales: Sequence[float] = (1.0,)
) -> NamedSegmenter:
    """A network that `python -m sflow_jax.train_segmenter` trained.

    Images keep their size, as when that command scored it.

    Args:
        path: the weights.
        class_table: of the dataset.
        scales: see `SlidingWindow`; the small network knows one only.

    Raises:
        InputError: the files are absent or damaged, or the number of classes is another.
    """
    network, variables, crop = read_segmenter(path, class_table.num_eval_classes)
    if isinstance(network, UNet):
        if len(scales) > 1:
            raise one_scale_only(f"the small network in {path}")
        return NamedSegmenter(f"the small network in {path}", predict_with_unet(network, variables))
    settings = SlidingWindow(crop=crop, scales=scales)
    predict = predict_with_pspnet(network, variables, settings, keeps_size=True)
    return NamedSegmenter(f"PSPNet in {path}{_describe(scales)}", predict)


def one_scale_only(title: str) -> InputError:
    """The error for another segmenter than PSPNet that is to see several scales."""
    return InputError(f"--multi_scale: found {title}, expected a PSPNet, named with --segmenter")


def _describe(scales: Sequence[float]) -> str:
    return "" if len(scales) == 1 else f" at the scales {', '.join(map(str, scales))}"
