"""The kernel distance (KID): squared maximum mean discrepancy with a cubic polynomial kernel.

Binkowski et al., "Demystifying MMD GANs" (2018); subsets, seed and estimator as torch-fidelity has
them, so that the same features give the same numbers there.
"""

import dataclasses

import numpy as np

from sflow_jax.errors import InputError

SUBSET_SIZE = 1000
NUM_SUBSETS = 100
_SEED = 2020


@dataclasses.dataclass(frozen=True)
class KernelDistance:
    """Mean and standard deviation over subsets; the mean may be slightly negative."""

    mean: float
    std: float


def kernel_distance(
    first: np.ndarray,
    second: np.ndarray,
    num_subsets: int = NUM_SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = _SEED,
) -> KernelDistance:
    """The unbiased estimate of MMD^2, averaged over random subsets without replacement.

    Args:
        first: features [N, d]; torch-fidelity's first input.
        second: features [M, d].
        num_subsets: how many.
        subset_size: of each, at most N and M. Distances of different sizes are comparable, as the
            estimate is unbiased.
        seed: of the draws.

    Raises:
        InputError: there are fewer features than a subset has, or than two.
    """
    count = min(len(first), len(second))
    if not 2 <= subset_size <= count:
        raise InputError(
            f"the kernel distance draws subsets of {subset_size} images, found {count} in the "
            "smaller set; expected at least as many, and subsets of at least 2"
        )
    random = np.random.RandomState(seed)
    distances = []
    for _ in range(num_subsets):
        subsets = [
            features[random.choice(len(features), subset_size, replace=False)].astype(np.float64)
            for features in (first, second)
        ]
        distances.append(_squared_discrepancy(*subsets))
    return KernelDistance(float(np.mean(distances)), float(np.std(distances)))


def _squared_discrepancy(x: np.ndarray, y: np.ndarray) -> float:
    """The unbiased estimate for two samples of the same size m."""
    m = len(x)
    within = sum(kernel.sum() - kernel.trace() for kernel in (_kernel(x, x), _kernel(y, y)))
    return within / (m * (m - 1)) - 2 * _kernel(x, y).mean()


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(x y / d + 1)^3."""
    base = x @ y.T / x.shape[1] + 1
    return base * base * base
