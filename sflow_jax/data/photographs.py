"""Reads color pictures in other formats than PNG, and turns pictures upright by their EXIF."""

import pathlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from PIL import ExifTags, Image

from sflow_jax.data.datasets import LARGEST_SIDE
from sflow_jax.errors import InputError, one_line

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".ppm", ".tif", ".tiff", ".webp")
"""The endings of the names of such files, in lower case."""

_MOST_PIXELS = 2**27  # 400 MB when they are decoded, be the file of 100 bytes
_SIZES = f"sides of 1 to {LARGEST_SIDE:,} and at most {_MOST_PIXELS:,} pixels in all"
_FORMATS = ("BMP", "JPEG", "PPM", "TIFF", "WEBP")
_SEVERAL = "MPO"  # how Pillow calls a JPEG of a phone with further pictures behind the first
_MODES = ("1", "CMYK", "L", "LA", "P", "RGB", "RGBA", "RGBX", "YCbCr")
_EXPECTED = "a picture of 8 bits per channel in PNG, JPEG, WebP, BMP, TIFF or PPM"
_END_OF_JPEG = b"\xff\xd9"
_LARGEST_ORIENTATION = 8


def name_format(start: bytes) -> str:
    """The format of a file that is no PNG, from its first 12 bytes; '' for none that is known."""
    signatures = {b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
    signatures |= {b"P5": "PPM", b"P6": "PPM", b"GIF8": "GIF"}
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    return next((name for sign, name in signatures.items() if start.startswith(sign)), "")


def require_decodable_size(path: pathlib.Path, width: int, height: int) -> None:
    """Checks the size that a header tells, before memory is taken for the pixels.

    Args:
        path: the file.
        width: in pixels.
        height: likewise.

    Raises:
        InputError: a side is 0 or too long, or there are too many pixels.
    """
    sides = (width, height)
    if min(sides) < 1 or max(sides) > LARGEST_SIDE or width * height > _MOST_PIXELS:
        raise InputError(f"{path}: found {width}x{height} pixels, expected {_SIZES}")


def check(path: pathlib.Path) -> tuple[int, int]:
    """Checks the header of a picture; decodes it where nothing else tells that it is whole.

    Returns:
        Width and height in pixels, upright.

    Raises:
        InputError: the file is missing, truncated or no picture of 8 bits per channel.
    """
    with _opened(path) as image:
        if image.format not in ("JPEG", _SEVERAL) or not _ends_as_jpeg(path):
            image.load()
        width, height = image.size
        return (height, width) if is_turned(_orientation(image.getexif)) else (width, height)


def read(path: pathlib.Path) -> np.ndarray:
    """Decodes a picture, upright; gray and CMYK become RGB, an alpha channel is dropped.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        InputError: the file is missing, damaged or no picture of 8 bits per channel.
    """
    with _opened(path) as image:
        return upright(np.asarray(image.convert("RGB")), _orientation(image.getexif))


def exif_orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, that EXIF data tells; 1, upright, where it tells none."""

    def load() -> Image.Exif:
        found = Image.Exif()
        found.load(exif)
        return found

    return _orientation(load)


def is_turned(orientation: int) -> bool:
    """Whether width and height change places."""
    return orientation > 4


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turns and mirrors a picture [H, W, C] as EXIF's orientation, 1 to 8, asks for."""
    if is_turned(orientation):
        image = image.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _orientation(get_exif: Callable[[], Image.Exif]) -> int:
    try:
        found = get_exif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # whatever Pillow raises for damaged EXIF; viewers show such pictures as is
        return 1
    return found if found in range(1, _LARGEST_ORIENTATION + 1) else 1


@contextmanager
def _opened(path: pathlib.Path) -> Iterator[Image.Image]:
    Image.init()  # knows all formats
    try:
        with Image.open(path, formats=_FORMATS) as image:
            require_decodable_size(path, *image.size)
            if image.mode not in _MODES:
                raise InputError(f"{path}: found pixels of {image.mode!r}, expected {_EXPECTED}")
            count = getattr(image, "n_frames", 1)
            if count > 1 and image.format != _SEVERAL:
                raise InputError(f"{path}: found {count} pictures, expected one")
            yield image
    except Image.DecompressionBombError as error:  # which has the size in words only
        raise InputError(f"{path}: found too many pixels, expected {_SIZES}") from error
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        found = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"{path}: {found}; expected {_EXPECTED}") from error


def _ends_as_jpeg(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        file.seek(-len(_END_OF_JPEG), 2)
        return file.read() == _END_OF_JPEG
