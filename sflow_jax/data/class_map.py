"""Class maps: which class of one table stands for each class of another."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from sflow_jax.data.labels import ClassTable
from sflow_jax.data.outlines import fill_gaps
from sflow_jax.errors import InputError
from sflow_jax.files import read_json


@dataclasses.dataclass(frozen=True)
class ClassMap:
    """What a file says.

    Attributes:
        names: of the target's class, by the names of the source's.
        outlined: of the target's classes, those that are to be drawn by their outlines: the names
            of classes that their gaps show; see `outlines.fill_gaps`.
    """

    names: Mapping[str, str]
    outlined: Mapping[str, Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Relabeling:
    """Makes the label maps of one table from those of another.

    Attributes:
        lookup: an id of the target for each id of the source, uint8 [256].
        outlined: ids of the target's classes that are to be drawn by their outlines, each with what
            its gaps may show, bool [256].
    """

    lookup: np.ndarray
    outlined: Sequence[tuple[int, np.ndarray]] = ()

    def __call__(self, label_maps: np.ndarray) -> np.ndarray:
        """Relabels uint8 [..., H, W, 1]; the result has the same shape and type."""
        relabeled = self.lookup[label_maps]
        for class_id, behind in self.outlined:
            frames = relabeled.reshape(-1, *relabeled.shape[-3:-1])
            filled = [fill_gaps(frame, class_id, behind) for frame in frames]
            relabeled = np.stack(filled).reshape(label_maps.shape)
        return relabeled


def read_class_map(path: pathlib.Path) -> ClassMap:
    """Reads a class map: JSON such as {"wall": "building", "rider": "bicyclist"}.

    In place of a name stands {"class": "tree", "outlined_over": ["sky", "building"]} for a class
    that is to be drawn by its outline where its gaps show one of these.

    Raises:
        InputError: the file is absent, or holds anything else.
    """
    content = read_json(path, "a class map")
    if not (isinstance(content, dict) and all(map(_is_entry, content.values()))):
        raise InputError(
            f"{path}: found {json.dumps(content)[:80]}, expected a class map such as "
            '{"wall": "building", "leaves": {"class": "tree", "outlined_over": ["sky"]}}'
        )
    names: dict[str, str] = {}
    outlined: dict[str, list[str]] = {}
    for source, entry in content.items():
        names[source] = entry if isinstance(entry, str) else entry["class"]
        if not isinstance(entry, str):
            outlined.setdefault(names[source], []).extend(entry["outlined_over"])
    return ClassMap(names, outlined)


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict):
        return isinstance(entry, str)
    over = entry.get("outlined_over")
    return (
        set(entry) == {"class", "outlined_over"}
        and isinstance(entry["class"], str)
        and isinstance(over, list)
        and all(isinstance(name, str) for name in over)
    )


def outlined_ids(
    target: ClassTable, class_map: ClassMap, origin: str
) -> list[tuple[int, np.ndarray]]:
    """The ids of classes to be drawn by outlines, each with what its gaps may show, bool [256].

    Raises:
        InputError: a name is not of the table.
    """
    ids = {label_class.name: label_class.id for label_class in target.classes}
    found = []
    for name, over in class_map.outlined.items():
        _require_names([name, *over], ids, target, origin)
        behind = np.zeros(256, bool)
        behind[[ids[other] for other in over]] = True
        found.append((ids[name], behind))
    return found


def class_lookup(
    source: ClassTable, target: ClassTable, class_map: Mapping[str, str], origin: str
) -> np.ndarray:
    """Translates the ids of one table to those of another.

    A class that the map does not name becomes the one of its own name. Where there is none, it
    becomes the first class that is not scored, such as void.

    Args:
        source: the table of the label maps.
        target: the table that they are wanted in.
        class_map: names of `target` by names of `source`.
        origin: of the map, for messages.

    Returns:
        uint8 [256], an id of `target` for each id; ids that `source` lacks are not scored either.

    Raises:
        InputError: a name is of neither table, or nothing stands for a class.
    """
    ids = named_ids(source, target, class_map, origin)
    lookup = np.full(256, target.void.id if target.void else 0, np.uint8)
    lookup[list(ids)] = list(ids.values())
    for label_class in source.classes:
        if label_class.id not in ids and not target.void:
            names = ", ".join(c.name for c in target.classes)
            raise InputError(
                f"{origin}: found nothing for {label_class.name!r} of {source.name!r}, expected "
                f"one of {names}, as {target.name!r} has no void class"
            )
    return lookup


def named_ids(
    source: ClassTable, target: ClassTable, class_map: Mapping[str, str], origin: str
) -> dict[int, int]:
    """The ids of `target` by those ids of `source` whose class the map or its own name gives.

    Raises:
        InputError: a name is of neither table.
    """
    ids = {label_class.name: label_class.id for label_class in target.classes}
    names = {label_class.name for label_class in source.classes}
    _require_names(class_map.keys(), names, source, origin)
    _require_names(class_map.values(), ids, target, origin)
    wanted = {c.id: class_map.get(c.name, c.name) for c in source.classes}
    return {class_id: ids[name] for class_id, name in wanted.items() if name in ids}


def _require_names(
    found: Iterable[str], expected: Iterable[str], table: ClassTable, origin: str
) -> None:
    unknown = sorted(set(found) - set(expected))
    if unknown:
        raise InputError(
            f"{origin}: found {', '.join(unknown)}, expected classes of {table.name!r}: "
            f"{', '.join(c.name for c in table.classes)}"
        )
