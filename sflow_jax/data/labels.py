"""Class tables: what the ids of a label map mean, how they are drawn and how they are scored."""

import dataclasses
import functools
import json
import pathlib

import numpy as np

from sflow_jax.errors import InputError
from sflow_jax.files import not_found, parse_json

CLASSES_FILE = "classes.json"
"""Where a class table is kept, in the folder of a run or of a dataset."""

VOID = 255
"""What `eval_lookup` gives for an id that is not scored."""

OTHERS = "others"
"""In classes.json, all ids that no class has."""

_FIELDS = ("id", "name", "color", "eval_id")


@dataclasses.dataclass(frozen=True)
class LabelClass:
    """One class of a label map.

    Attributes:
        id: its value in label maps, 0 to 255.
        name: such as 'road'.
        color: RGB, 0 to 255.
        eval_id: its row in score tables, from 0 on, or None if it is not scored. Several classes
            may share a row.
    """

    id: int
    name: str
    color: tuple[int, int, int]
    eval_id: int | None


@dataclasses.dataclass(frozen=True)
class ClassTable:
    """The classes of a dataset; ids need not be consecutive.

    Attributes:
        name: of the table; tables that differ in nothing else have the same classes.
        classes: those that a label map may hold once it is read.
        void_ids: further ids in the files of label maps, which all become `void` when they are
            read, so that no channel of a one-hot label map is spent on each of them.
    """

    name: str
    classes: tuple[LabelClass, ...]
    void_ids: tuple[int, ...] = ()

    @property
    def num_classes(self) -> int:
        """The largest id + 1: the channels of a one-hot label map."""
        return max(label_class.id for label_class in self.classes) + 1

    def has_classes_of(self, other: "ClassTable") -> bool:
        """Whether both have the same classes; datasets that share them have names of their own."""
        return self.classes == other.classes

    @property
    def void(self) -> LabelClass | None:
        """The first class that is not scored, which stands for all ids without a meaning."""
        return next((c for c in self.classes if c.eval_id is None), None)

    @functools.cached_property
    def read_lookup(self) -> np.ndarray:
        """The id that each id of a file becomes when it is read: uint8 [256]."""
        lookup = np.arange(256, dtype=np.uint8)
        if self.void:
            lookup[list(self.void_ids)] = self.void.id
        return lookup

    @property
    def num_eval_classes(self) -> int:
        """The number of classes that are scored."""
        return len(self.eval_names)

    @functools.cached_property
    def eval_names(self) -> list[str]:
        """The name of each scored class, by eval id; the first where several share one."""
        names = {c.eval_id: c.name for c in reversed(self.classes) if c.eval_id is not None}
        return [names[eval_id] for eval_id in sorted(names)]

    @functools.cached_property
    def eval_lookup(self) -> np.ndarray:
        """The eval id of each id, `VOID` if it has none: uint8 [256]."""
        lookup = np.full(256, VOID, np.uint8)
        for label_class in self.classes:
            if label_class.eval_id is not None:
                lookup[label_class.id] = label_class.eval_id
        return lookup

    @functools.cached_property
    def palette(self) -> np.ndarray:
        """The color of each id, black if the table has no such id: uint8 RGB [256, 3]."""
        palette = np.zeros((256, 3), np.uint8)
        for label_class in self.classes:
            palette[label_class.id] = label_class.color
        return palette

    @functools.cached_property
    def is_known(self) -> np.ndarray:
        """Whether a file may hold each id: bool [256]."""
        known = np.zeros(256, bool)
        known[[label_class.id for label_class in self.classes]] = True
        known[list(self.void_ids)] = True
        return known

    def colorize(self, label_map: np.ndarray) -> np.ndarray:
        """Draws label maps in the colors of their classes.

        Args:
            label_map: uint8 [..., H, W], ids.

        Returns:
            uint8 [..., H, W, 3], RGB.
        """
        return self.palette[label_map]

    def to_json(self) -> str:
        """The table in the format of classes.json."""
        classes = [json.dumps(dataclasses.asdict(label_class)) for label_class in self.classes]
        rows = ",\n    ".join(classes)
        void = f',\n  "void_ids": {json.dumps(self.void_ids)}' if self.void_ids else ""
        name = json.dumps(self.name)
        return f'{{\n  "name": {name},\n  "classes": [\n    {rows}\n  ]{void}\n}}\n'

    @classmethod
    def from_json(cls, text_or_path: str | pathlib.Path) -> "ClassTable":
        """Reads a table from a classes.json.

        Args:
            text_or_path: the JSON itself, or the path (not a str) of the file that holds it:
                {"name": ..., "classes": [{"id": 0, "name": "road", "color": [128, 64, 128],
                "eval_id": 0}, ...]}, with `"eval_id": null` for a class that is not scored.
                `"void_ids": [255]` reads these ids, `"void_ids": "others"` all that no class has,
                as the first class that is not scored; where there is none, it is added.

        Raises:
            InputError: the file is missing, is no JSON or breaks a rule; names file and class.
        """
        if isinstance(text_or_path, pathlib.Path):
            origin, text = str(text_or_path), _read(text_or_path)
        else:
            origin, text = "class table", text_or_path
        try:
            content = parse_json(text)
        except ValueError as error:
            raise InputError(f"{origin}: {error}; expected JSON") from error
        return _parse(content, origin)


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise not_found(path, "the table of the label classes") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}; expected JSON") from error


def _parse(content: object, origin: str) -> ClassTable:
    if not (
        isinstance(content, dict)
        and isinstance(content.get("classes"), list)
        and _is_text(content.get("name"))
    ):
        raise InputError(f'{origin}: expected an object {{"name": "...", "classes": [...]}}')
    if not content["classes"]:
        raise InputError(f'{origin}: "classes" is empty, expected at least one class')
    classes = tuple(
        _parse_class(entry, f"{origin}: class {index}")
        for index, entry in enumerate(content["classes"])
    )
    _check_unique([c.id for c in classes], origin)
    _check_eval_ids({c.eval_id for c in classes if c.eval_id is not None}, origin)
    return _with_void(content["name"], classes, content.get("void_ids", []), origin)


def _with_void(
    name: str, classes: tuple[LabelClass, ...], void_ids: object, origin: str
) -> ClassTable:
    """The table of these classes, with a class for ids without a meaning if there are any."""
    ids = {c.id for c in classes}
    unused = [identity for identity in range(256) if identity not in ids]
    if void_ids == OTHERS:
        void_ids = unused
    if not (isinstance(void_ids, list) and all(map(_is_byte, void_ids))):
        expected = f'a list of whole numbers from 0 to 255, or "{OTHERS}"'
        raise InputError(f'{origin}: "void_ids" is {json.dumps(void_ids)}, expected {expected}')
    if both := sorted(ids.intersection(void_ids)):
        raise InputError(
            f'{origin}: "void_ids" has {both[0]}, which a class has too, expected it once'
        )
    if void_ids and not any(c.eval_id is None for c in classes):
        classes += (LabelClass(unused[0], "void", (0, 0, 0), None),)
    left = sorted({*void_ids} - {c.id for c in classes})
    return ClassTable(name, classes, tuple(left))


def _parse_class(entry: object, place: str) -> LabelClass:
    if not isinstance(entry, dict):
        raise InputError(
            f"{place}: found {repr(entry)[:80]}, expected an object with {', '.join(_FIELDS)}"
        )
    for field in _FIELDS:
        if field not in entry:
            raise InputError(f'{place}: has no "{field}", expected {", ".join(_FIELDS)}')
    identity, name, color, eval_id = (entry[field] for field in _FIELDS)
    if not _is_byte(identity):
        raise InputError(
            f'{place}: "id" is {repr(identity)[:80]}, expected a whole number from 0 to 255'
        )
    if not (name and _is_text(name)):
        raise InputError(f'{place}: "name" is {repr(name)[:80]}, expected a text')
    if not isinstance(color, list) or len(color) != 3 or not all(map(_is_byte, color)):
        raise InputError(
            f'{place}: "color" is {repr(color)[:80]}, expected [red, green, blue], 0 to 255'
        )
    if eval_id is not None and (not _is_byte(eval_id) or eval_id == VOID):
        expected = "null or a whole number from 0 to 254"
        raise InputError(f'{place}: "eval_id" is {repr(eval_id)[:80]}, expected {expected}')
    return LabelClass(identity, name, tuple(color), eval_id)


def _is_text(value: object) -> bool:
    """Whether it is a name that any file can hold: JSON can write halves of characters."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_byte(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _check_unique(ids: list[int], origin: str) -> None:
    for index, identity in enumerate(ids):
        if identity in ids[:index]:
            found = f"classes {ids.index(identity)} and {index} both have id {identity}"
            raise InputError(f"{origin}: {found}, expected every id once")


def _check_eval_ids(eval_ids: set[int], origin: str) -> None:
    missing = set(range(len(eval_ids))) - eval_ids
    if missing:
        found = f"no class has eval_id {min(missing)} but one has {max(eval_ids)}"
        raise InputError(f"{origin}: {found}, expected them without gaps from 0")


def _table(name: str, rows: list[tuple]) -> ClassTable:
    return ClassTable(name, tuple(LabelClass(*row) for row in rows))


# Ids, names and colors of the Cityscapes dataset. Id 34 stands for its license plate (-1, which
# no label map can hold), so that a label map has the 35 channels that the literature counts.
CITYSCAPES = _table(
    "cityscapes",
    [
        (0, "unlabeled", (0, 0, 0), None),
        (1, "ego vehicle", (0, 0, 0), None),
        (2, "rectification border", (0, 0, 0), None),
        (3, "out of roi", (0, 0, 0), None),
        (4, "static", (0, 0, 0), None),
        (5, "dynamic", (111, 74, 0), None),
        (6, "ground", (81, 0, 81), None),
        (7, "road", (128, 64, 128), 0),
        (8, "sidewalk", (244, 35, 232), 1),
        (9, "parking", (250, 170, 160), None),
        (10, "rail track", (230, 150, 140), None),
        (11, "building", (70, 70, 70), 2),
        (12, "wall", (102, 102, 156), 3),
        (13, "fence", (190, 153, 153), 4),
        (14, "guard rail", (180, 165, 180), None),
        (15, "bridge", (150, 100, 100), None),
        (16, "tunnel", (150, 120, 90), None),
        (17, "pole", (153, 153, 153), 5),
        (18, "polegroup", (153, 153, 153), None),
        (19, "traffic light", (250, 170, 30), 6),
        (20, "traffic sign", (220, 220, 0), 7),
        (21, "vegetation", (107, 142, 35), 8),
        (22, "terrain", (152, 251, 152), 9),
        (23, "sky", (70, 130, 180), 10),
        (24, "person", (220, 20, 60), 11),
        (25, "rider", (255, 0, 0), 12),
        (26, "car", (0, 0, 142), 13),
        (27, "truck", (0, 0, 70), 14),
        (28, "bus", (0, 60, 100), 15),
        (29, "caravan", (0, 0, 90), None),
        (30, "trailer", (0, 0, 110), None),
        (31, "train", (0, 80, 100), 16),
        (32, "motorcycle", (0, 0, 230), 17),
        (33, "bicycle", (119, 11, 32), 18),
        (34, "license plate", (0, 0, 142), None),
    ],
)

# The 19 scored classes of Cityscapes, numbered by their train id.
STREETS = ClassTable(
    "streets",
    tuple(
        LabelClass(c.eval_id, c.name, c.color, c.eval_id)
        for c in CITYSCAPES.classes
        if c.eval_id is not None
    ),
)

# Ids, names and colors of SYNTHIA's video sequences, from the readme that comes with them.
SYNTHIA = _table(
    "synthia",
    [
        (0, "void", (0, 0, 0), None),
        (1, "sky", (128, 128, 128), 0),
        (2, "building", (128, 0, 0), 1),
        (3, "road", (128, 64, 128), 2),
        (4, "sidewalk", (0, 0, 192), 3),
        (5, "fence", (64, 64, 128), 4),
        (6, "vegetation", (128, 128, 0), 5),
        (7, "pole", (192, 192, 128), 6),
        (8, "car", (64, 0, 128), 7),
        (9, "traffic sign", (192, 128, 128), 8),
        (10, "pedestrian", (64, 64, 0), 9),
        (11, "bicycle", (0, 128, 192), 10),
        (12, "lanemarking", (0, 172, 0), 11),
        (13, "reserved 1", (0, 0, 0), None),
        (14, "reserved 2", (0, 0, 0), None),
        (15, "traffic light", (0, 128, 128), 12),
    ],
)
