"""Deterministic noise anchored to surface coordinates."""

import numpy as np

_SIZE = 256  # the noise repeats after so many cells
_TABLE = np.random.default_rng(20190524).random(_SIZE * _SIZE)


def cell_noise(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """A uniform random value in [0, 1) for the unit cell that contains (x, y)."""
    return _look_up(*_cell(x, y, seed))


def smooth_noise(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Value noise in [0, 1) with a wavelength of about one unit."""
    fx, fy = x - np.floor(x), y - np.floor(y)
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    column, row = _cell(x, y, seed)
    top = _look_up(column, row) * (1 - fx) + _look_up(column + 1, row) * fx
    bottom = _look_up(column, row + 1) * (1 - fx) + _look_up(column + 1, row + 1) * fx
    return top * (1 - fy) + bottom * fy


def _cell(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return np.floor(x).astype(np.int64) + 37 * seed, np.floor(y).astype(np.int64) + 101 * seed


def _look_up(column: np.ndarray, row: np.ndarray) -> np.ndarray:
    return _TABLE.take((row & (_SIZE - 1)) * _SIZE + (column & (_SIZE - 1)))
