"""Class maps: which class of one table stands for each class of another."""

import json
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from sflow_jax.data.labels import ClassTable
from sflow_jax.errors import InputError
from sflow_jax.files import read_json


def read_class_map(path: pathlib.Path) -> dict[str, str]:
    """Reads a class map: JSON such as {"wall": "building", "rider": "bicyclist"}.

    Raises:
        InputError: the file is absent, or holds anything but names by names.
    """
    content = read_json(path, "a class map")
    if not (isinstance(content, dict) and all(isinstance(name, str) for name in content.values())):
        raise InputError(
            f"{path}: found {json.dumps(content)[:80]}, expected a class map such as "
            '{"wall": "building"}'
        )
    return content


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
    ids = {label_class.name: label_class.id for label_class in target.classes}
    names = {label_class.name for label_class in source.classes}
    _require_names(class_map.keys(), names, source, origin)
    _require_names(class_map.values(), ids, target, origin)
    unscored = [c.id for c in target.classes if c.eval_id is None]
    lookup = np.full(256, unscored[0] if unscored else 0, np.uint8)
    for label_class in source.classes:
        name = class_map.get(label_class.name, label_class.name)
        if name in ids:
            lookup[label_class.id] = ids[name]
        elif not unscored:
            raise InputError(
                f"{origin}: found nothing for {label_class.name!r} of {source.name!r}, expected "
                f"one of {', '.join(ids)}, as {target.name!r} has no void class"
            )
    return lookup


def _require_names(
    found: Iterable[str], expected: Iterable[str], table: ClassTable, origin: str
) -> None:
    unknown = sorted(set(found) - set(expected))
    if unknown:
        raise InputError(
            f"{origin}: found {', '.join(unknown)}, expected classes of {table.name!r}: "
            f"{', '.join(c.name for c in table.classes)}"
        )
