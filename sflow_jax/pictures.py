"""Pictures for people: label colors, edge maps, flow and captioned grids."""

import pathlib
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sflow_jax.data.images import encode_png
from sflow_jax.files import write_whole

_CAPTION_HEIGHT = 16  # pixels
_GAP = 2
_BACKGROUND = 255


def edges_to_rgb(edge_map: np.ndarray) -> np.ndarray:
    """Draws an edge map [H, W, 1] in [0, 1] as uint8 RGB [H, W, 3], edges white."""
    gray = np.rint(np.clip(edge_map, 0, 1) * 255).astype(np.uint8)
    return np.repeat(gray, 3, axis=-1)


def largest_motion(flow: np.ndarray) -> float:
    """The motion, pixels, that is worth the full color: the 99th percentile of [H, W, 2]."""
    return float(np.quantile(np.linalg.norm(flow.astype(np.float32), axis=-1), 0.99))


def flow_to_rgb(flow: np.ndarray, largest: float) -> np.ndarray:
    """Draws flow on the color wheel: hue is its direction, white stands still.

    Args:
        flow: [H, W, 2], pixels, x first.
        largest: pixels of motion that get the full color; draw flows to be compared with one.

    Returns:
        uint8 RGB [H, W, 3].
    """
    x, y = (np.ascontiguousarray(flow[..., axis], np.float32) for axis in (0, 1))
    magnitude, degrees = cv2.cartToPolar(x, y, angleInDegrees=True)
    saturation = np.clip(magnitude / max(largest, 1e-6), 0, 1)
    hsv = np.stack([degrees, saturation, np.ones_like(degrees)], -1)
    return np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8)


def grid(
    rows: Sequence[Sequence[np.ndarray]], captions: Sequence[str], titles: Sequence[str] = ()
) -> np.ndarray:
    """Arranges pictures in rows under one caption per column.

    Args:
        rows: rows of uint8 RGB [H, W, 3], all of one size.
        captions: one for each column.
        titles: one for each row, to stand above it, or none.

    Returns:
        uint8 RGB.
    """
    height, width = rows[0][0].shape[:2]
    pitch = height + _GAP + (_CAPTION_HEIGHT if titles else 0)
    sheet = Image.new(
        "RGB",
        (len(captions) * (width + _GAP) - _GAP, _CAPTION_HEIGHT + len(rows) * pitch),
        (_BACKGROUND,) * 3,
    )
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for column, caption in enumerate(captions):
        left = column * (width + _GAP)
        draw.text((left + 2, 1), caption, fill=(0, 0, 0), font=font)
        for row, images in enumerate(rows):
            top = _CAPTION_HEIGHT + (row + 1) * pitch - height - _GAP
            sheet.paste(Image.fromarray(images[column]), (left, top))
    for row, title in enumerate(titles):
        draw.text((2, _CAPTION_HEIGHT + row * pitch + 1), title, fill=(0, 0, 0), font=font)
    return np.asarray(sheet)


def write_png(path: pathlib.Path, image: np.ndarray) -> None:
    """Writes uint8 RGB [H, W, 3], making the folders that are missing.

    The file appears whole or not at all, so that whoever is interrupted can go on from what exists.

    Raises:
        OSError: the file cannot be written.
    """
    write_whole(path, encode_png(image))
