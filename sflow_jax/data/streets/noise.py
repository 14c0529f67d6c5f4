"""Deterministic noise anchored to surface coordinates."""

import numpy as np

_TABLE = np.random.default_rng(20190524).random((256, 256))


def cell_noise(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """A uniform random value in [0, 1) for each unit cell that (x, y) lies in."""
    column = np.floor(x).astype(np.int64) + 37 * seed
    row = np.floor(y).astype(np.int64) + 101 * seed
    return _TABLE[row & 255, column & 255]


def smooth_noise(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Value noise in [0, 1) with a wavelength of about one unit."""
    fx, fy = x - np.floor(x), y - np.floor(y)
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    top = cell_noise(x, y, seed) * (1 - fx) + cell_noise(x + 1, y, seed) * fx
    bottom = cell_noise(x, y + 1, seed) * (1 - fx) + cell_noise(x + 1, y + 1, seed) * fx
    return top * (1 - fy) + bottom * fy
