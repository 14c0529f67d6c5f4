"""A pattern that is the same in all pictures, such as the checkerboard of strides.

The mean over pictures keeps what they have in common. Its residual to the mean of the p x p pixels
around is averaged over the pixels of each phase of a p x p cell; the standard deviation over the
p^2 phases is the score. Real images have little of it, and less the more there are of them. No
other score sees it: a segmenter and a Fréchet distance hardly change when it is taken away.
"""

from collections.abc import Mapping

import numpy as np

from sflow_jax import sharding
from sflow_jax.metrics.picture_scores import Result

PERIODS = (2, 4, 8)
"""In pixels: those of the strides of generators and discriminators."""


class FixedPattern:
    """`pattern_2`, `pattern_4`, `pattern_8`: strength at each period, of 255.

    A `picture_scores.Score`; NaN where pictures are too small for a period.
    """

    def __init__(self) -> None:
        self._sum: np.ndarray | None = None
        self._count = 0

    def update(self, pictures: np.ndarray, examples: Mapping[str, np.ndarray]) -> None:
        """Adds a batch; see `Score`. All pictures of a row have one size."""
        images = pictures.reshape(-1, *pictures.shape[2:])
        total = images.sum(0, dtype=np.float64)
        self._sum = total if self._sum is None else self._sum + total
        self._count += len(images)

    def result(self) -> Result:
        """The numbers by name."""
        own: dict[str, float | np.ndarray]
        own = {} if self._sum is None else {"sum": self._sum, "count": self._count}
        sums = sharding.sum_over_hosts(own)
        mean = sums["sum"] / sums["count"]
        return {f"pattern_{period}": pattern_strength(mean, period) for period in PERIODS}


def pattern_strength(mean: np.ndarray, period: int) -> float:
    """The strength of a pattern of one period in a mean picture.

    Args:
        mean: over pictures, [H, W, 3].
        period: p, pixels, even.

    Returns:
        The root mean square over channels of the standard deviation over phases, in the unit of
        `mean`; NaN if no whole cell is left.
    """
    residual = mean[period // 2 : -(period // 2), period // 2 : -(period // 2)]
    residual = residual - _local_mean(_local_mean(mean, period, 0), period, 1)
    rows, columns = (side // period for side in residual.shape[:2])
    if not (rows and columns):
        return float("nan")
    cells = residual[: rows * period, : columns * period]
    phases = cells.reshape(rows, period, columns, period, -1).mean((0, 2))
    return float(np.sqrt(phases.var((0, 1)).mean()))


def _local_mean(x: np.ndarray, period: int, axis: int) -> np.ndarray:
    """Over `period` pixels around each one along an axis; the two outermost count half."""
    weights = np.full(period + 1, 1 / period)
    weights[[0, -1]] /= 2
    return np.apply_along_axis(lambda line: np.convolve(line, weights, "valid"), axis, x)
