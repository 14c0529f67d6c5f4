"""The Fréchet distance between Gaussians, and the Gaussian of a stream of feature vectors.

    d^2 = |m_1 - m_2|^2 + tr(C_1) + tr(C_2) - 2 tr((C_1 C_2)^(1/2))

Dowson and Landau (1982), used on network features by Heusel et al., "GANs Trained by a Two
Time-Scale Update Rule Converge to a Local Nash Equilibrium" (2017).

A covariance is kept as a factor F with C = F F^T. Then tr((C_1 C_2)^(1/2)) is the nuclear norm of
F_1^T F_2, its sum of singular values: real however rank-deficient the covariances are, without an
epsilon on their diagonals, and with errors of the rounding and not of its square root. From n
features below their dimension d, the centered features themselves are a factor: F_1^T F_2 is n x m
and no d x d matrix is ever made.
"""

import dataclasses
from collections.abc import Mapping
from typing import Self

import numpy as np

from sflow_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Mean and covariance of features.

    Attributes:
        count: number of feature vectors they come from.
        mean: float64 [d].
        factor: float64 [d, r] with covariance = factor factor^T; r is at most d.
    """

    count: int
    mean: np.ndarray
    factor: np.ndarray

    @classmethod
    def from_covariance(cls, count: int, mean: np.ndarray, covariance: np.ndarray) -> Self:
        """The Gaussian of a mean [d] and a symmetric covariance [d, d], whatever its rank."""
        factor = _factor(np.asarray(covariance, np.float64))
        return cls(count, np.asarray(mean, np.float64), factor)

    @property
    def covariance(self) -> np.ndarray:
        """float64 [d, d]."""
        return self.factor @ self.factor.T


def _factor(covariance: np.ndarray) -> np.ndarray:
    """F [d, r] with F F^T = C: Cholesky's, several times as fast, where the rank is full."""
    depth = len(covariance)
    # Pivots and eigenvalues below this are rounding errors of the others, of either sign.
    rounding = depth * np.finfo(np.float64).eps * np.trace(covariance)
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        factor = np.zeros_like(covariance)
    if np.square(factor.diagonal()).min() > rounding:
        return factor
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    kept = eigenvalues > rounding
    return eigenvectors[:, kept] * np.sqrt(eigenvalues[kept])


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """The squared Fréchet distance d^2, the number that FID and FVD are.

    Raises:
        ValueError: the dimensions differ.
    """
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"means are {first.mean.shape} and {second.mean.shape}")
    difference = first.mean - second.mean
    traces = np.square(first.factor).sum() + np.square(second.factor).sum()
    overlap = np.linalg.svd(first.factor.T @ second.factor, compute_uv=False).sum()
    return float(difference @ difference + traces - 2 * overlap)


class GaussianStream:
    """Collects features batch by batch in float64; memory stays below a few d x d matrices.

    Features are kept as they are up to d of them, so that few need no covariance matrix. More are
    folded into the sum of outer products of deviations from the mean (Chan et al., 1979).
    """

    def __init__(self) -> None:
        self._count = 0  # of what is folded
        self._mean = self._scatter = np.zeros(0)
        self._waiting: list[np.ndarray] = []
        self._num_waiting = 0

    @property
    def count(self) -> int:
        """Number of feature vectors so far."""
        return self._count + self._num_waiting

    def update(self, features: np.ndarray) -> None:
        """Adds features [N, d].

        Raises:
            ValueError: some are not finite.
        """
        features = np.array(features, np.float64)
        if not np.isfinite(features).all():
            raise ValueError("features are not finite: damaged weights or an image out of range")
        self._waiting.append(features)
        self._num_waiting += len(features)
        if self._num_waiting > features.shape[1]:
            self._fold()

    def merge(self, other: Self) -> None:
        """Adds what another stream has collected, of another device or host."""
        for features in other._waiting:
            self.update(features)
        if other._count:
            self._add(other._count, other._mean, other._scatter)

    def state(self) -> dict[str, np.ndarray]:
        """What it has collected, as float64 arrays that `from_state` takes."""
        state = {"waiting": np.concatenate(self._waiting)} if self._waiting else {}
        if self._count:
            folded = {"count": self._count, "mean": self._mean, "scatter": self._scatter}
            state |= {name: np.array(value, np.float64) for name, value in folded.items()}
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> Self:
        """A stream as it was when its `state` was taken."""
        stream = cls()
        if "count" in state:
            stream._add(int(state["count"].item()), state["mean"], state["scatter"])
        if "waiting" in state:
            stream.update(state["waiting"])
        return stream

    def gaussian(self) -> Gaussian:
        """Mean and covariance (divisor N - 1) of all features so far.

        Raises:
            InputError: there are fewer than two.
        """
        if self.count < 2:
            found = "1 image or clip" if self.count else "no image or clip"
            raise InputError(f"found {found}, expected at least 2: no covariance")
        if not self._count:
            features = np.concatenate(self._waiting)
            mean = features.mean(0)
            return Gaussian(self.count, mean, (features - mean).T / np.sqrt(self.count - 1))
        self._fold()
        covariance = self._scatter / (self._count - 1)
        return Gaussian.from_covariance(self._count, self._mean, covariance)

    def _fold(self) -> None:
        if self._num_waiting:
            features = np.concatenate(self._waiting)
            self._waiting, self._num_waiting = [], 0
            mean = features.mean(0)
            deviations = features - mean
            self._add(len(features), mean, deviations.T @ deviations)

    def _add(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        if not self._count:
            self._count, self._mean, self._scatter = count, mean.copy(), scatter.copy()
            return
        total = self._count + count
        shift = mean - self._mean
        self._scatter += scatter
        self._scatter += np.outer(shift * (self._count * count / total), shift)
        self._mean = self._mean + shift * (count / total)
        self._count = total
