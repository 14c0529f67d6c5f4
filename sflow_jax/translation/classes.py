"""From the classes of a simulator to those of the model, and those that none stands for."""

import collections
import concurrent.futures
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import tqdm

from sflow_jax.data import images
from sflow_jax.data.class_map import ClassMap, Relabeling, named_ids, outlined_ids
from sflow_jax.data.labels import ClassTable
from sflow_jax.errors import InputError
from sflow_jax.translation.exports import ExportFrame
from sflow_jax.translation.simulators import read_ids

_CHECKED_AT_ONCE = 64  # bounds the memory of the check


@dataclasses.dataclass(frozen=True)
class Classes:
    """How the classes of an export become those of a model.

    Attributes:
        source: of the export.
        target: of the model.
        ids: of the target, by the ids of the source that have one.
        relabel: makes label maps.
        origin: where the user can change it, for messages.
    """

    source: ClassTable
    target: ClassTable
    ids: dict[int, int]
    relabel: Relabeling
    origin: str

    @property
    def names(self) -> dict[str, str]:
        """The class of the model for each class of the export that has one."""
        names = {c.id: c.name for c in self.target.classes}
        return {c.name: names[self.ids[c.id]] for c in self.source.classes if c.id in self.ids}

    def read_label_map(self, path: pathlib.Path) -> np.ndarray:
        """Reads the label map of a frame, uint8 [H, W, 1], in the classes of the model.

        Raises:
            InputError: the file is damaged, or of another kind.
        """
        return self.relabel(read_ids(path, self.source))


def plan_classes(
    source: ClassTable, target: ClassTable, class_map: ClassMap, origin: str
) -> Classes:
    """Finds the classes that have one of the model, by the map or else by their name.

    Raises:
        InputError: the map names a class that is not in its table.
    """
    ids = named_ids(source, target, class_map.names, origin)
    lookup = np.zeros(256, np.uint8)
    lookup[list(ids)] = list(ids.values())
    relabel = Relabeling(lookup, outlined_ids(target, class_map, origin))
    return Classes(source, target, ids, relabel, origin)


def check_frames(frames: Sequence[ExportFrame], classes: Classes) -> None:
    """Reads every frame once, in threads and with a progress bar.

    Raises:
        InputError: a file is damaged or of another size than its partner; or pixels have classes
            for which there is none of the model, all of which are listed.
    """
    pixels, places = np.zeros(256, np.int64), collections.defaultdict(list)
    checked = zip(frames, _count_pixels(frames, classes.source), strict=True)
    for frame, counts in tqdm.tqdm(checked, "checking", len(frames), leave=False, unit="frame"):
        pixels += counts
        for class_id in set(np.flatnonzero(counts).tolist()) - classes.ids.keys():
            places[class_id].append(frame.label)
    if places:
        raise _unknown_classes(classes, pixels, places)


def _count_pixels(frames: Sequence[ExportFrame], table: ClassTable) -> Iterator[np.ndarray]:
    """How many pixels of each frame have each id, [256]."""

    def read(frame: ExportFrame) -> np.ndarray:
        ids, cg = read_ids(frame.label, table), images.read_color(frame.cg)
        height, width = ids.shape[:2]
        images.require_size(frame.cg, cg.shape[1::-1], frame.label, (width, height))
        return np.bincount(ids.ravel(), minlength=256)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(frames), _CHECKED_AT_ONCE):
            yield from pool.map(read, frames[start : start + _CHECKED_AT_ONCE])


def _unknown_classes(
    classes: Classes, pixels: np.ndarray, places: dict[int, list[pathlib.Path]]
) -> InputError:
    names = {c.id: c.name for c in classes.source.classes}
    shares = 100 * pixels / pixels.sum()
    found = [
        f"{names.get(i, 'no class of this name')!r} (id {i}): {pixels[i]} pixels "
        f"({shares[i]:.2g} %) in {len(places[i])} frame{'s' * (len(places[i]) > 1)}"
        for i in sorted(places, key=lambda i: -pixels[i])
    ]
    expected = ", ".join(c.name for c in classes.target.classes)
    known = [names[i] for i in places if i in names]
    example = f'"{known[0]}": "{classes.target.classes[0].name}"' if known else ""
    hint = f"in a class map such as {{{example}}}" if example else "of the export's class table"
    first = next(iter(places.values()))[0]
    return InputError(
        f"{classes.origin}: nothing stands for {'; '.join(found)}; first in {first}; expected one "
        f"of the model's classes for each {hint}: {expected}. Maps to begin with are in configs/"
    )
