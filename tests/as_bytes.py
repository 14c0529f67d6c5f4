"""How images become bytes, by NumPy."""

import numpy as np


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Converts float images in [-1, 1] to uint8 in 0..255, rounding to nearest."""
    return np.clip(np.rint((np.asarray(image, np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)
