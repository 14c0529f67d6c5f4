"""Masks of things that are no rectangles: part ids drawn with OpenCV, 0 where one looks through."""

import functools

import cv2
import numpy as np

from sflow_jax.data.streets.noise import smooth_noise

_NUM_CROWNS = 40  # drawing one takes a millisecond, and a street has a hundred


def _canvas(width: int, height: int) -> np.ndarray:
    return np.zeros((height, width), np.uint8)


def person(rng: np.random.Generator) -> np.ndarray:
    """A standing or walking person, 64x128: 1 skin, 2 hair, 3 jacket, 4 trousers, 5 shoes."""
    mask = _canvas(64, 128)
    stride = int(rng.integers(2, 13))
    for side in (-1, 1):
        foot = (32 + side * stride, 120)
        cv2.line(mask, (32 + side * 5, 70), foot, 4, 10)
        cv2.ellipse(mask, (foot[0] + 2, 123), (8, 4), 0, 0, 360, 5, -1)
        hand = (32 + side * int(rng.integers(14, 21)), 70)
        cv2.line(mask, (32 + side * 11, 34), hand, 3, 8)
        cv2.circle(mask, hand, 4, 1, -1)
    cv2.rectangle(mask, (19, 28), (45, 74), 3, -1)
    cv2.ellipse(mask, (32, 14), (9, 12), 0, 0, 360, 1, -1)
    cv2.ellipse(mask, (32, 9), (9, 8), 0, 180, 360, 2, -1)
    return mask


def rider(rng: np.random.Generator) -> np.ndarray:
    """The person on a two-wheeler seen from the side, 64x128; parts as for `person`."""
    mask = _canvas(64, 128)
    knee = (40, int(rng.integers(80, 92)))
    cv2.line(mask, (24, 68), knee, 4, 10)
    cv2.line(mask, knee, (34, 112), 4, 9)
    cv2.ellipse(mask, (37, 115), (7, 4), 0, 0, 360, 5, -1)
    cv2.line(mask, (24, 66), (34, 32), 3, 19)
    cv2.line(mask, (36, 36), (52, 62), 3, 7)
    cv2.ellipse(mask, (39, 13), (9, 12), 0, 0, 360, 1, -1)
    cv2.ellipse(mask, (39, 8), (10, 8), 0, 180, 360, 2, -1)
    return mask


def bicycle(_: np.random.Generator) -> np.ndarray:
    """A bicycle from the side, 128x80: 1 frame, 2 tires and saddle."""
    mask = _canvas(128, 80)
    for center in ((26, 52), (102, 52)):
        cv2.circle(mask, center, 23, 2, 5)
    for start, end in (((26, 52), (50, 22)), ((50, 22), (92, 22)), ((92, 22), (102, 52))):
        cv2.line(mask, start, end, 1, 5)
    for start, end in (((26, 52), (62, 54)), ((62, 54), (92, 22)), ((62, 54), (48, 12))):
        cv2.line(mask, start, end, 1, 5)
    cv2.line(mask, (40, 10), (58, 10), 2, 6)
    cv2.line(mask, (92, 22), (90, 8), 1, 4)
    cv2.line(mask, (84, 7), (100, 10), 2, 4)
    return mask


def motorcycle(_: np.random.Generator) -> np.ndarray:
    """A motorcycle from the side, 128x80: 1 body, 2 tires and seat, 3 engine."""
    mask = _canvas(128, 80)
    for center in ((24, 56), (104, 56)):
        cv2.circle(mask, center, 17, 2, 9)
    cv2.rectangle(mask, (42, 38), (84, 64), 3, -1)
    cv2.fillPoly(mask, [np.array([[30, 34], [54, 18], [88, 16], [98, 40], [56, 44]])], 1)
    cv2.line(mask, (20, 28), (56, 26), 2, 9)
    cv2.line(mask, (88, 16), (104, 56), 3, 5)
    cv2.line(mask, (80, 8), (92, 16), 2, 5)
    return mask


def crown(rng: np.random.Generator) -> np.ndarray:
    """Foliage of a tree or a bush with a ragged outline, 96x96: 1 leaves."""
    return _crown(int(rng.integers(_NUM_CROWNS)))


@functools.cache
def _crown(seed: int) -> np.ndarray:
    rows, columns = np.mgrid[0:96, 0:96] / 48.0 - 1
    ragged = smooth_noise(columns * 4, rows * 4, seed)
    fine = smooth_noise(columns * 11, rows * 11, seed + _NUM_CROWNS)
    radius = np.hypot(columns, rows)
    leaves = radius + 0.5 * (ragged - 0.5) + 0.35 * (fine - 0.5) < 0.78
    # From full foliage to branches through which the sky is seen.
    gaps = (fine > np.random.default_rng(seed).uniform(0.45, 0.85)) & (radius > 0.25)
    return (leaves & ~gaps).astype(np.uint8)


def fence(_: np.random.Generator) -> np.ndarray:
    """One meter of fence, 64x64: 1 bars."""
    mask = _canvas(64, 64)
    mask[:, ::16] = mask[:, 1::16] = mask[:, 2::16] = 1
    mask[2:8] = mask[56:61] = 1
    return mask


def sign(rng: np.random.Generator) -> np.ndarray:
    """A traffic sign, 64x64: 1 rim, 2 field, 3 symbol."""
    mask = _canvas(64, 64)
    kind = rng.integers(3)
    if kind == 0:
        cv2.circle(mask, (32, 32), 31, 1, -1)
        cv2.circle(mask, (32, 32), 23, 2, -1)
    elif kind == 1:
        cv2.fillPoly(mask, [np.array([[32, 0], [63, 60], [0, 60]])], 1)
        cv2.fillPoly(mask, [np.array([[32, 17], [50, 52], [14, 52]])], 2)
    else:
        mask[:] = 1
        mask[4:60, 4:60] = 2
    cv2.rectangle(mask, (27, 26), (37, 46), 3, -1)
    return mask


def traffic_light(_: np.random.Generator) -> np.ndarray:
    """Three lights in a housing, 32x80: 1 housing, 2 red, 3 amber, 4 green."""
    mask = np.ones((80, 32), np.uint8)
    for part, row in ((2, 15), (3, 40), (4, 65)):
        cv2.circle(mask, (16, row), 9, part, -1)
    return mask
