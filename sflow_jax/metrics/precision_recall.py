"""Precision and recall of generated images.

Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models" (2019):
a set of images fills the union of balls around its features, each as large as the distance to the
k-th nearest neighbor within the set. Precision is the share of generated images inside the real
ones' balls, recall the share of real images inside the generated ones'.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from sflow_jax.errors import InputError

_NEIGHBORS = 3
_BLOCK_ELEMENTS = 2**24  # of a distance matrix at a time: 128 MiB


@dataclasses.dataclass(frozen=True)
class PrecisionRecall:
    """Two shares in [0, 1]."""

    precision: float
    recall: float


def precision_recall(
    real: np.ndarray, fake: np.ndarray, neighbors: int = _NEIGHBORS
) -> PrecisionRecall:
    """Precision and recall.

    Args:
        real: features of real images [N, d].
        fake: features of generated images [M, d]. Both shares depend on N and M: compare only
            values from equal numbers of images.
        neighbors: k.

    Raises:
        InputError: a set has no more than k features.
    """
    real, fake = (np.asarray(features, np.float64) for features in (real, fake))
    for kind, features in (("real", real), ("generated", fake)):
        if len(features) <= neighbors:
            raise InputError(f"found {len(features)} {kind} images, expected over {neighbors}")
    real_radii, fake_radii = _radii(real, neighbors), _radii(fake, neighbors)
    fake_inside = np.zeros(len(fake), bool)
    real_inside = []
    for rows, distances in _distance_blocks(real, fake):
        fake_inside |= (distances <= real_radii[rows, None]).any(0)
        real_inside.append((distances <= fake_radii).any(1))
    return PrecisionRecall(float(fake_inside.mean()), float(np.concatenate(real_inside).mean()))


def _radii(features: np.ndarray, neighbors: int) -> np.ndarray:
    """Squared distance of each vector to its k-th neighbor; the nearest of all is itself."""
    blocks = _distance_blocks(features, features)
    parts = [np.partition(distances, neighbors, 1)[:, neighbors] for _, distances in blocks]
    return np.concatenate(parts)


def _distance_blocks(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Squared distances from a few rows of x to all of y, block by block."""
    x_lengths, y_lengths = np.square(x).sum(1), np.square(y).sum(1)
    step = max(1, _BLOCK_ELEMENTS // len(y))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        yield rows, x_lengths[rows, None] + y_lengths - 2 * (x[rows] @ y.T)
