"""Which frames of a clip vid2vid's temporal discriminators judge together.

The one of scale s sees three frames that are 3**s apart, so that motion of several speeds is judged
by as many frames. Reference: `get_skipped_frames` in NVIDIA/vid2vid models/vid2vid_model_D.py.
"""

from typing import TypeVar

import jax

NUM_FRAMES = 3

Time = TypeVar("Time", int, jax.Array)
"""The number of a frame in its clip from 0, a Python number or an integer array of any shape."""


def skip(scale: int) -> int:
    """From a frame to the next of the three: 1, 3, 9 for the scales 0, 1, 2."""
    return NUM_FRAMES**scale


def span(scale: int) -> int:
    """From the first to the last of the three frames: 2, 6, 18 for the scales 0, 1, 2."""
    return (NUM_FRAMES - 1) * skip(scale)


def triple(time: Time, scale: int) -> tuple[Time, Time, Time]:
    """The frames that are judged together when frame `time` is new, oldest first.

    Numbers below 0 are of frames that do not exist: see `is_ready`.
    """
    return time - span(scale), time - skip(scale), time


def is_ready(time: Time, scale: int) -> bool | jax.Array:
    """Whether all frames of `triple` exist."""
    return time >= span(scale)
