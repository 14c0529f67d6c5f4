"""A dataset that a segmenter learns in a few steps: dark and bright halves."""

import itertools

import numpy as np

from sflow_jax.data.labels import ClassTable, LabelClass

SHADES = ClassTable(
    "shades", (LabelClass(3, "dark", (0, 0, 0), 0), LabelClass(4, "bright", (255, 255, 255), 1))
)


def shade_batches(first=0):
    """Images of which one half is bright, and their label maps; batch k is always the same."""
    for index in itertools.count(first):
        random = np.random.RandomState(index)
        is_bright = np.zeros((2, 24, 40), bool)
        is_bright[:, :, random.randint(10, 30) :] = True
        is_bright ^= random.rand(2, 1, 1) < 0.5
        images = 60 + 120 * is_bright[..., None] + random.randint(0, 30, (2, 24, 40, 3))
        yield images.astype(np.uint8), (3 + is_bright).astype(np.uint8)
