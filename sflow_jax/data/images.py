"""Checks, reads, writes and resizes images: PNG, and photographs in other formats.

A file is refused, not converted, if the conversion could change the meaning of a pixel:

- A label map has one 8-bit value per pixel, the class id: a gray PNG, or one with a palette, whose
  indices are the ids (the palette's colors are ignored). RGB-colored label maps, 16-bit ones and
  gray ones of fewer than 8 bits are refused.
- An instance map is a gray PNG of 8 or 16 bits.
- Tags, as CARLA has them, are an RGB(A) PNG of 8 bits with class ids in red or in colors of its
  own, or a label map.
- An annotation, as SYNTHIA has it, is an RGB PNG of 16 bits: class ids in red, instance numbers in
  green. Its copy in colors, of 8 bits, is refused.
- An animation (APNG) is no picture: which of its frames would be meant?
- A color image has 8 bits per channel; gray becomes RGB and an alpha channel is dropped. It may be
  of another format, see `photographs`, and is turned as its EXIF says. All others are PNGs: what
  compresses with losses changes ids.
"""

import dataclasses
import io
import os
import pathlib
import struct
import zlib
from typing import IO

import cv2
import numpy as np
from PIL import Image

from sflow_jax.data import labels, photographs
from sflow_jax.errors import InputError

COLOR_KEYS = ("image", "cg")
"""The keys of photographs and CG frames; all others are maps of ids."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_LAST_CHUNK = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_GRAY, _RGB, _PALETTE, _GRAY_ALPHA, _RGBA = 0, 2, 3, 4, 6
_COLOR_NAMES = {
    _GRAY: "gray",
    _RGB: "RGB",
    _PALETTE: "palette",
    _GRAY_ALPHA: "gray with alpha",
    _RGBA: "RGBA",
}
_LONGEST_EXIF = 2**16  # bytes, as in JPEG
_MOST_IDS_SHOWN = 5
_MOST_INSTANCES = 999  # of a class, so that class id * 1000 + number tells them apart


@dataclasses.dataclass(frozen=True)
class Header:
    """The header of an image.

    Attributes:
        width: as stored, in pixels.
        height: likewise.
        bit_depth: bits per channel.
        color_type: PNG's.
        orientation: EXIF's, 1 to 8; 1 is upright.
    """

    width: int
    height: int
    bit_depth: int
    color_type: int
    orientation: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels, upright."""
        is_turned = photographs.is_turned(self.orientation)
        return (self.height, self.width) if is_turned else (self.width, self.height)

    @property
    def has_one_channel(self) -> bool:
        """Whether a pixel is one number, be it an index of a palette."""
        return self.color_type in (_GRAY, _PALETTE)

    def __str__(self) -> str:
        kind = _COLOR_NAMES.get(self.color_type, f"color type {self.color_type}")
        return f"{self.width}x{self.height} {kind} PNG with {self.bit_depth} bits"


def check_header(path: pathlib.Path, key: str) -> Header:
    """Checks the first and the last bytes of a file, without decoding it.

    Args:
        path: the file.
        key: what it should be: 'image', 'cg', 'label', 'instance', 'annotation' or 'tags'.

    Raises:
        InputError: truncated, too large to be decoded, or of a format or a kind that `key` does not
            allow.
    """
    if key in COLOR_KEYS and not _is_png(path):
        width, height = photographs.check(path)
        return Header(width, height, 8, _RGB)
    header = _read_header(path)
    if key not in COLOR_KEYS:
        header = dataclasses.replace(header, orientation=1)  # no viewer turns ids
    expected = _violation(header, key)
    if expected:
        raise InputError(f"{path}: found a {header}, expected {expected}")
    return header


def require_size(
    path: pathlib.Path, size: tuple[int, int], reference: pathlib.Path, expected: tuple[int, int]
) -> None:
    """Checks that a file has the (width, height) of another file.

    Raises:
        InputError: names both files and sizes.
    """
    if tuple(size) != tuple(expected):
        raise InputError(
            f"{path}: found {size[0]}x{size[1]} pixels, "
            f"expected {expected[0]}x{expected[1]} as in {reference}"
        )


def file_status(path: pathlib.Path) -> os.stat_result:
    """The size and the times of a file, through links.

    Raises:
        InputError: it is missing, or a link that leads nowhere.
    """
    try:
        return path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error


def read_color(path: pathlib.Path) -> np.ndarray:
    """Reads a color image.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        InputError: the file is missing, damaged or not such an image.
    """
    if not _is_png(path):
        return photographs.read(path)
    header = check_header(path, "image")
    return photographs.upright(_decode_rgb(path, cv2.IMREAD_COLOR_RGB), header.orientation)


def read_label_map(path: pathlib.Path, class_table: labels.ClassTable) -> np.ndarray:
    """Reads a label map.

    Returns:
        uint8 [H, W, 1], class ids.

    Raises:
        InputError: the file is missing, damaged, not a label map, or has ids outside the table.
    """
    check_header(path, "label")
    label_map = _read_map(path).astype(np.uint8)
    _check_labels(path, label_map, class_table)
    return class_table.read_lookup[label_map][..., None]


def read_instance_map(path: pathlib.Path) -> np.ndarray:
    """Reads an instance map.

    Returns:
        uint16 [H, W, 1].

    Raises:
        InputError: the file is missing, damaged or not an instance map.
    """
    check_header(path, "instance")
    return _read_map(path).astype(np.uint16)[..., None]


def read_annotation(
    path: pathlib.Path, class_table: labels.ClassTable
) -> tuple[np.ndarray, np.ndarray]:
    """Reads an annotation of SYNTHIA: class ids in red, instance numbers in green, 0 for none.

    Returns:
        The label map, uint8 [H, W, 1], and the instance map, uint16 [H, W, 1]: class id * 1000 +
        number where there is a number, else the class id. After 999 numbers start again at 1.

    Raises:
        InputError: the file is missing, damaged, no annotation, or has ids outside the table.
    """
    check_header(path, "annotation")
    annotation = _decode_rgb(path, cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH)
    label_map, number = annotation[..., :1], annotation[..., 1:2]
    _check_labels(path, label_map, class_table)
    label_map = class_table.read_lookup.astype(np.uint16)[label_map]
    # An instance of class 0 would be taken for the class of its number.
    is_counted = (number > 0) & (label_map > 0)
    # Not cut off: then all later objects would be one.
    number = (number - 1) % _MOST_INSTANCES + 1
    instance = np.where(is_counted, label_map * 1000 + number, label_map)
    return label_map.astype(np.uint8), instance


def encode_png(image: np.ndarray) -> bytes:
    """Encodes an RGB image [H, W, 3] or a map [H, W, 1], uint8 or uint16, as PNG."""
    if image.shape[-1] == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", image)[1].tobytes()


def resize_color(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a color image [H, W, 3] by averaging (OpenCV's INTER_AREA)."""
    if image.shape[:2] == (height, width):
        return image
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def resize_map(ids: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a label or instance map [H, W, 1]: each pixel takes the id at its own center."""
    rows = ((np.arange(height) + 0.5) * ids.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * ids.shape[1] / width).astype(int)
    return ids[rows[:, None], columns]


def _violation(header: Header, key: str) -> str:
    """What a file of this key should be, if the header shows that it is not; else ''."""
    if key in COLOR_KEYS:
        return "8 bits per channel" if header.bit_depth > 8 else ""
    if key == "instance":
        fits = header.color_type == _GRAY and header.bit_depth >= 8
        return "" if fits else "a gray PNG of 8 or 16 bits with instance ids"
    if key == "annotation":
        fits = (header.color_type, header.bit_depth) == (_RGB, 16)
        return "" if fits else "an RGB PNG of 16 bits: class ids in red, instance numbers in green"
    if key == "tags" and not header.has_one_channel:
        fits = header.color_type in (_RGB, _RGBA) and header.bit_depth == 8
        return "" if fits else "a PNG of 8 bits with class ids in red or in CityScapesPalette"
    fits = header.color_type == _PALETTE or (header.color_type, header.bit_depth) == (_GRAY, 8)
    return "" if fits else "one 8-bit class id per pixel (a gray or palette PNG)"


def _read_header(path: pathlib.Path) -> Header:
    try:
        with path.open("rb") as file:
            start = file.read(33)
            exif = _find_exif(file)
            file.seek(-min(len(_LAST_CHUNK), len(start)), io.SEEK_END)
            end = file.read()
    except OSError as error:
        raise _unreadable(path, error) from error
    if start[:8] != _SIGNATURE or (len(start) == 33 and start[12:16] != b"IHDR"):
        found = photographs.name_format(start)
        raise InputError(
            f"{path}: found a {found}, expected a PNG: other formats may change ids"
            if found
            else f"{path}: found bytes that are no PNG's, expected a PNG"
        )
    if len(start) < 33:
        raise _truncated(path, len(start))
    if end != _LAST_CHUNK:
        _read_intact(path)  # Bytes after the last chunk are odd but harmless.
    width, height, bit_depth, color_type = struct.unpack(">IIBB", start[16:26])
    photographs.require_decodable_size(path, width, height)
    return Header(width, height, bit_depth, color_type, photographs.exif_orientation(exif))


def _is_png(path: pathlib.Path) -> bool:
    """Whether a file begins as a PNG, or with nothing that another format has."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError as error:
        raise _unreadable(path, error) from error
    return not photographs.name_format(start)


def _find_exif(file: IO[bytes]) -> bytes:
    """EXIF data before the pixels of a PNG that is open behind its header; b'' without any."""
    while len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind == b"eXIf":
            return file.read(min(length, _LONGEST_EXIF))
        if kind == b"IDAT":
            break
        file.seek(length + 4, io.SEEK_CUR)
    return b""


def _read_intact(path: pathlib.Path) -> bytes:
    """Reads a PNG and checks every chunk's checksum: decoders overlook some damage."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    view, position, kind = memoryview(content), len(_SIGNATURE), b""
    while kind != b"IEND":
        try:
            length, kind = struct.unpack_from(">I4s", content, position)
            (checksum,) = struct.unpack_from(">I", content, position + 8 + length)
        except struct.error as error:
            raise _truncated(path, len(content)) from error
        if kind == b"acTL":
            raise InputError(f"{path}: found an animated PNG, expected a single picture")
        if zlib.crc32(view[position + 4 : position + 8 + length]) != checksum:
            raise InputError(f"{path}: damaged PNG (a checksum is wrong), expected an intact file")
        position += 12 + length
    return content


def _decode_rgb(path: pathlib.Path, flags: int) -> np.ndarray:
    """Decodes a PNG as [H, W, 3]; Pillow would cut 16 bits per channel down to 8."""
    content = np.frombuffer(_read_intact(path), np.uint8)
    try:
        image = cv2.imdecode(content, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise _undecodable(path, error) from error
    if image is None:
        raise _undecodable(path, "damaged pixels")
    return image


def _read_map(path: pathlib.Path) -> np.ndarray:
    """Reads a gray or palette PNG as [H, W]; OpenCV would turn the palette into colors."""
    content = _read_intact(path)
    try:
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _undecodable(path, error) from error


def _check_labels(
    path: pathlib.Path, label_map: np.ndarray, class_table: labels.ClassTable
) -> None:
    present = np.flatnonzero(np.bincount(label_map.ravel()))
    unknown = np.setdiff1d(present, np.flatnonzero(class_table.is_known))
    if unknown.size:
        shown = ", ".join(map(str, unknown[:_MOST_IDS_SHOWN]))
        more = ", ..." if len(unknown) > _MOST_IDS_SHOWN else ""
        raise InputError(
            f"{path}: found label {shown}{more}, expected only the "
            f"{len(class_table.classes)} ids of the class table {class_table.name!r} and its "
            '"void_ids"'
        )


def _unreadable(path: pathlib.Path, error: OSError) -> InputError:
    return InputError(f"{path}: {error.strerror or error}; expected a file to read")


def _undecodable(path: pathlib.Path, found: object) -> InputError:
    return InputError(f"{path}: {found}; expected a PNG that can be decoded")


def _truncated(path: pathlib.Path, size: int) -> InputError:
    return InputError(f"{path}: truncated PNG: found {size} bytes, expected more")
