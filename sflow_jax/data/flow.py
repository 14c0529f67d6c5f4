"""The optical flow that is stored with pairs of frames."""

import cv2
import numpy as np

# What the operator of eq. 8 has as its defaults. They are written twice, and compared by a test, as
# worker processes that import this module should not have to load JAX.
FARNEBACK = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
}


def farneback_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """OpenCV's Farneback flow with the parameters of eq. 8's operator.

    Args:
        first: uint8 [H, W, 3], RGB.
        second: uint8 [H, W, 3], the next frame.

    Returns:
        float32 [H, W, 2], pixels from the first frame to the second, x first.
    """
    gray = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (first, second)]
    # OpenCV's types have neither None, for a new array, nor keywords in a dictionary.
    return cv2.calcOpticalFlowFarneback(*gray, None, **FARNEBACK, flags=0)  # type: ignore[call-overload]
