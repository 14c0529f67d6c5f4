"""How the authors of PSPNet label a test image, as a function of any network.

The protocol of hszhao/semseg, tool/test.py, with the settings of its Cityscapes configuration: the
long side is resized, a window slides over the image, every window is labeled together with its
mirror image, and class probabilities are averaged where windows overlap. Labels of a whole set are
scored from their confusion matrix: `segmentation.scores`.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from sflow_jax.segmentation.pspnet import MEAN, STD

Logits = Callable[[jax.Array], jax.Array]

MULTI_SCALE = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)  # semseg's for its second column of scores


@dataclasses.dataclass(frozen=True)
class SlidingWindow:
    """The settings; the default is semseg's for Cityscapes.

    Attributes:
        base_size: pixels of the image's long side at scale 1.
        crop: side of the square window in pixels, 8 k + 1 for PSPNet.
        scales: factors of `base_size`, whose probabilities are averaged.
        stride_rate: step of the window as a share of `crop`.
        mean: of the channels in [0, 255], which is also what pads images smaller than the window.
        std: of the channels in [0, 255].
    """

    base_size: int = 2048
    crop: int = 713
    scales: Sequence[float] = (1.0,)
    stride_rate: float = 2 / 3
    mean: Sequence[float] = tuple(255 * x for x in MEAN)
    std: Sequence[float] = tuple(255 * x for x in STD)


def label_image(logits: Logits, image: np.ndarray, settings: SlidingWindow) -> np.ndarray:
    """The most probable class of every pixel: int64 [H, W]; see `probabilities`."""
    return probabilities(logits, image, settings).argmax(-1)


def probabilities(logits: Logits, image: np.ndarray, settings: SlidingWindow) -> np.ndarray:
    """Class probabilities of every pixel.

    Memory holds the classes of one image and one window, however many there are.

    Args:
        logits: maps normalized images [2, crop, crop, 3], a window and its mirror image, to logits
            [2, crop, crop, C]; best jitted, for it is called with this shape only.
        image: RGB [H, W, 3] in [0, 255], uint8 or float.
        settings: of the window.

    Returns:
        float64 [H, W, C] that sums to 1 over C.
    """
    found = (_at_scale(logits, image, scale, settings) for scale in settings.scales)
    return functools.reduce(np.add, found) / len(settings.scales)


def _at_scale(
    logits: Logits, image: np.ndarray, scale: float, settings: SlidingWindow
) -> np.ndarray:
    """Probabilities [H, W, C] of an image that is seen at one scale."""
    height, width = image.shape[:2]
    # Resized in float, as there: rounding to gray levels would give other scores.
    resized = cv2.resize(image.astype(np.float32), _scaled_size(height, width, scale, settings))
    return cv2.resize(_slide(logits, resized, settings), (width, height))


def _scaled_size(height: int, width: int, scale: float, settings: SlidingWindow) -> tuple[int, int]:
    """Width and height, as OpenCV wants them."""
    long_side = round(scale * settings.base_size)
    if height > width:
        return round(long_side / height * width), long_side
    return long_side, round(long_side / width * height)


def _slide(logits: Logits, image: np.ndarray, settings: SlidingWindow) -> np.ndarray:
    """Probabilities float64 [H, W, C] of an image of any size, from overlapping windows."""
    height, width = image.shape[:2]
    image, top, left = _pad(image, settings)
    stride = math.ceil(settings.crop * settings.stride_rate)
    total, counts = None, np.zeros((*image.shape[:2], 1))
    for y in _starts(image.shape[0], settings.crop, stride):
        for x in _starts(image.shape[1], settings.crop, stride):
            window = np.s_[y : y + settings.crop, x : x + settings.crop]
            found = _label_window(logits, image[window], settings)
            if total is None:
                total = np.zeros((*image.shape[:2], found.shape[-1]))
            total[window] += found
            counts[window] += 1
    total /= counts
    return total[top : top + height, left : left + width]


def _pad(image: np.ndarray, settings: SlidingWindow) -> tuple[np.ndarray, int, int]:
    """Puts an image into the middle of one of at least the window's size; its top and left too."""
    missing = [max(settings.crop - side, 0) for side in image.shape[:2]]
    top, left = (count // 2 for count in missing)
    bottom, right = missing[0] - top, missing[1] - left
    border = cv2.BORDER_CONSTANT
    padded = cv2.copyMakeBorder(image, top, bottom, left, right, border, value=settings.mean)
    return padded, top, left


def _starts(side: int, crop: int, stride: int) -> list[int]:
    """Where windows begin; the last one ends at the border and may overlap more."""
    count = math.ceil((side - crop) / stride) + 1
    return [min(index * stride, side - crop) for index in range(count)]


def _label_window(logits: Logits, window: np.ndarray, settings: SlidingWindow) -> np.ndarray:
    """Probabilities float32 [crop, crop, C], the average of the window's and its mirror image's."""
    mean, std = (np.array(values, np.float32) for values in (settings.mean, settings.std))
    normalized = (window - mean) / std
    found = jax.nn.softmax(logits(jnp.stack([normalized, normalized[:, ::-1]])))
    return np.asarray((found[0] + found[1, :, ::-1]) / 2)
