"""The class tables of simulators, and reading the class ids of their frames.

CARLA: documentation of the semantic segmentation camera ("Sensors reference"), whose tags changed
with version 0.9.14, and LibCarla's CityScapesPalette.h of both. SYNTHIA-RAND-CITYSCAPES: the readme
that comes with it.
"""

import functools
import pathlib

import numpy as np

from sflow_jax.data import images
from sflow_jax.data.labels import SYNTHIA, ClassTable, LabelClass
from sflow_jax.errors import InputError

_MOST_COLORS_SHOWN = 5


def _tags(name: str, rows: list[tuple[str, tuple[int, int, int]]]) -> ClassTable:
    """A table whose ids count its rows; nothing is scored by it."""
    classes = (LabelClass(index, *row, eval_id=None) for index, row in enumerate(rows))
    return ClassTable(name, tuple(classes))


CARLA = _tags(
    "carla",
    [
        ("unlabeled", (0, 0, 0)),
        ("road", (128, 64, 128)),
        ("sidewalk", (244, 35, 232)),
        ("building", (70, 70, 70)),
        ("wall", (102, 102, 156)),
        ("fence", (190, 153, 153)),
        ("pole", (153, 153, 153)),
        ("traffic light", (250, 170, 30)),
        ("traffic sign", (220, 220, 0)),
        ("vegetation", (107, 142, 35)),
        ("terrain", (152, 251, 152)),
        ("sky", (70, 130, 180)),
        ("pedestrian", (220, 20, 60)),
        ("rider", (255, 0, 0)),
        ("car", (0, 0, 142)),
        ("truck", (0, 0, 70)),
        ("bus", (0, 60, 100)),
        ("train", (0, 80, 100)),
        ("motorcycle", (0, 0, 230)),
        ("bicycle", (119, 11, 32)),
        ("static", (110, 190, 160)),
        ("dynamic", (170, 120, 50)),
        ("other", (55, 90, 80)),
        ("water", (45, 60, 150)),
        ("road line", (157, 234, 50)),
        ("ground", (81, 0, 81)),
        ("bridge", (150, 100, 100)),
        ("rail track", (230, 150, 140)),
        ("guard rail", (180, 165, 180)),
    ],
)

# Until 0.9.9 there were the first thirteen alone.
CARLA_0_9_13 = _tags(
    "carla-0.9.13",
    [
        ("unlabeled", (0, 0, 0)),
        ("building", (70, 70, 70)),
        ("fence", (100, 40, 40)),
        ("other", (55, 90, 80)),
        ("pedestrian", (220, 20, 60)),
        ("pole", (153, 153, 153)),
        ("road line", (157, 234, 50)),
        ("road", (128, 64, 128)),
        ("sidewalk", (244, 35, 232)),
        ("vegetation", (107, 142, 35)),
        ("vehicle", (0, 0, 142)),
        ("wall", (102, 102, 156)),
        ("traffic sign", (220, 220, 0)),
        ("sky", (70, 130, 180)),
        ("ground", (81, 0, 81)),
        ("bridge", (150, 100, 100)),
        ("rail track", (230, 150, 140)),
        ("guard rail", (180, 165, 180)),
        ("traffic light", (250, 170, 30)),
        ("static", (110, 190, 160)),
        ("dynamic", (170, 120, 50)),
        ("water", (45, 60, 150)),
        ("terrain", (145, 170, 100)),
    ],
)

# The colors are those of Cityscapes where it has the class.
SYNTHIA_RAND = _tags(
    "synthia-rand",
    [
        ("void", (0, 0, 0)),
        ("sky", (70, 130, 180)),
        ("building", (70, 70, 70)),
        ("road", (128, 64, 128)),
        ("sidewalk", (244, 35, 232)),
        ("fence", (190, 153, 153)),
        ("vegetation", (107, 142, 35)),
        ("pole", (153, 153, 153)),
        ("car", (0, 0, 142)),
        ("traffic sign", (220, 220, 0)),
        ("pedestrian", (220, 20, 60)),
        ("bicycle", (119, 11, 32)),
        ("motorcycle", (0, 0, 230)),
        ("parking slot", (250, 170, 160)),
        ("road work", (128, 64, 64)),
        ("traffic light", (250, 170, 30)),
        ("terrain", (152, 251, 152)),
        ("rider", (255, 0, 0)),
        ("truck", (0, 0, 70)),
        ("bus", (0, 60, 100)),
        ("train", (0, 80, 100)),
        ("wall", (102, 102, 156)),
        ("lanemarking", (157, 234, 50)),
    ],
)

TABLES = {table.name: table for table in (CARLA, CARLA_0_9_13, SYNTHIA, SYNTHIA_RAND)}
"""The tables of simulators, by the name of the format that has their ids."""

# What a frame has of ids that no table knows is counted over all frames, not refused one by one.
_ALL_IDS = _tags("any", [(str(index), (0, 0, 0)) for index in range(256)])


def read_ids(path: pathlib.Path, table: ClassTable) -> np.ndarray:
    """Reads the class ids of a frame, be they known to the table or not.

    Args:
        path: a label map of one 8-bit id per pixel; an annotation of SYNTHIA, 16 bits, with the ids
            in red; or CARLA's: an RGB(A) PNG of 8 bits with the ids in red, as its semantic and
            instance cameras deliver them, or in the colors of its CityScapesPalette.
        table: for the colors.

    Returns:
        uint8 [H, W, 1].

    Raises:
        InputError: the file is damaged or none of these.
    """
    if table in (SYNTHIA, SYNTHIA_RAND):
        return images.read_annotation(path, _ALL_IDS)[0]
    if table not in (CARLA, CARLA_0_9_13) or images.check_header(path, "tags").has_one_channel:
        return images.read_label_map(path, _ALL_IDS)
    colors = images.read_color(path)
    if not colors[..., 1:].any():
        return colors[..., :1]
    return _read_colors(path, colors, table)


def _read_colors(path: pathlib.Path, colors: np.ndarray, table: ClassTable) -> np.ndarray:
    """The ids of a picture in the table's colors, or the red channel of the instance camera."""
    found = _ids_by_color(table)[_codes(colors)][..., None]
    is_unknown = found < 0
    if not is_unknown.any():
        return found.astype(np.uint8)
    if table.is_known[colors[..., 0]].all():
        return colors[..., :1]
    unknown, counts = np.unique(colors[is_unknown[..., 0]], axis=0, return_counts=True)
    order = np.argsort(-counts)[:_MOST_COLORS_SHOWN]
    shown = ", ".join(f"{tuple(unknown[i].tolist())} on {counts[i]} pixels" for i in order)
    raise InputError(
        f"{path}: found {len(unknown)} colors that are none of {table.name!r}: {shown}; expected "
        "class ids in the red channel, or the colors of CityScapesPalette, neither resized nor "
        "compressed with losses"
    )


@functools.cache
def _ids_by_color(table: ClassTable) -> np.ndarray:
    """The id of every color, -1 without one: int16 [2^24]."""
    ids = np.full(2**24, -1, np.int16)
    ids[_codes(table.palette[: len(table.classes)])] = range(len(table.classes))
    return ids


def _codes(colors: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(colors.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue
