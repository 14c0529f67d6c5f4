"""The palettes of a run: the colors of its training images, which a generator is told in use."""

import io
import pathlib

import numpy as np

from sflow_jax.data.pipeline import Source
from sflow_jax.errors import InputError, reading_from
from sflow_jax.files import write_whole

PALETTES_FILE = "palettes.npy"
_MOST = 64  # palettes of a run


def collect_palettes(source: Source, num_classes: int, seed: int) -> np.ndarray:
    """The palettes of some images, in a random order.

    A class that an image lacks gets its mean color in the others, as much lighter or darker, and
    redder or bluer, as the rest of the image is.

    Args:
        source: the training split.
        num_classes: C.
        seed: of the order.

    Returns:
        float32 [K, C, 3] in [-1, 1], K at most 64.
    """
    count = min(_MOST, len(source))
    examples = [source[index * len(source) // count] for index in range(count)]
    colors = np.full((count, num_classes, 3), np.nan)
    for color, example in zip(colors, examples, strict=True):
        ids, pixels = example["label"][0].ravel(), example["image"][0].reshape(-1, 3)
        areas = np.bincount(ids, minlength=num_classes)[:num_classes]
        for channel in range(3):
            sums = np.bincount(ids, pixels[:, channel], num_classes)[:num_classes]
            color[areas > 0, channel] = (sums[areas > 0] / areas[areas > 0]) / 127.5 - 1
    is_known = ~np.isnan(colors)
    sums, counts = np.where(is_known, colors, 0).sum(0), np.maximum(is_known.sum(0), 1)
    means = sums / counts
    offsets = np.where(is_known, colors - means, 0).sum(1) / np.maximum(is_known.sum(1), 1)
    filled = np.where(is_known, colors, np.clip(means + offsets[:, None], -1, 1))
    return np.random.default_rng(seed).permutation(filled).astype(np.float32)


def save_palettes(workdir: pathlib.Path, palettes: np.ndarray) -> None:
    """Writes the palettes of a run.

    Raises:
        OSError: the folder cannot be written.
    """
    content = io.BytesIO()
    np.save(content, palettes, allow_pickle=False)
    write_whole(workdir / PALETTES_FILE, content.getvalue())


def load_palettes(workdir: pathlib.Path, num_classes: int) -> np.ndarray:
    """Reads the palettes of a run.

    Raises:
        InputError: they are absent, damaged or of other classes.
    """
    path, expected = workdir / PALETTES_FILE, f"palettes of {num_classes} classes"
    with reading_from(path, expected):
        palettes = np.load(path, allow_pickle=False)
    if palettes.ndim != 3 or palettes.shape[1:] != (num_classes, 3):
        raise InputError(f"{path}: found an array of {palettes.shape}, expected {expected}")
    return palettes.astype(np.float32)
