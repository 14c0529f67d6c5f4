"""A simulator's scenes in the classes of the model that translates them, and their translations."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import tqdm

from sflow_jax.data.class_map import (
    ClassMap,
    Relabeling,
    class_lookup,
    outlined_ids,
    read_class_map,
)
from sflow_jax.data.labels import VOID, ClassTable
from sflow_jax.data.pipeline import Source, eval_batches
from sflow_jax.data.prepared import PreparedDataset, open_dataset
from sflow_jax.errors import InputError
from sflow_jax.evaluation.rows import Draw
from sflow_jax.inference import batch_size_for
from sflow_jax.segmentation.agreement import disagrees
from sflow_jax.segmentation.labeling import Predict

_TRAIN = "train"


@dataclasses.dataclass(frozen=True)
class Scenes:
    """The training split of a dataset, its label maps in the classes of another table.

    Attributes:
        dataset: the scenes.
        class_table: of the label maps that `source` gives.
        relabel: makes them of the dataset's.
    """

    dataset: PreparedDataset
    class_table: ClassTable
    relabel: Relabeling

    @property
    def source(self) -> Source:
        """The examples."""
        return Relabeled(self.dataset.source(_TRAIN), self.relabel)

    @property
    def class_names(self) -> dict[str, str]:
        """What each class of the dataset is in the other table."""
        names = {c.id: c.name for c in self.class_table.classes}
        names |= {
            class_id: f"outlines of {names[class_id]}" for class_id, _ in self.relabel.outlined
        }
        lookup = self.relabel.lookup
        return {c.name: names[int(lookup[c.id])] for c in self.dataset.class_table.classes}


def own_scenes(dataset: PreparedDataset) -> Scenes:
    """The scenes of the dataset that a model was trained on, as in the paper."""
    return Scenes(dataset, dataset.class_table, Relabeling(np.arange(256, dtype=np.uint8)))


def open_scenes(
    directory: pathlib.Path, class_map: pathlib.Path | None, dataset: PreparedDataset
) -> Scenes:
    """The scenes of a simulator for a model that was trained on photographs.

    Args:
        directory: of the prepared dataset that has them.
        class_map: the file that `class_map.read_class_map` reads; by default classes keep their
            names.
        dataset: of the photographs.

    Raises:
        InputError: one of them cannot be used, or the sizes differ.
    """
    scenes = open_dataset(directory)
    scenes.require_examples(_TRAIN)
    found, expected = (_describe_size(d) for d in (scenes, dataset))
    if found != expected:
        raise InputError(
            f"{directory}: found scenes of {found}, expected the {expected} of {dataset.directory}"
        )
    if not scenes.schema.cg:
        raise InputError(f"{directory}: found no CG frames, expected those of a simulator")
    mapped = read_class_map(class_map) if class_map else ClassMap({}, {})
    origin, table = str(class_map or directory), dataset.class_table
    lookup = class_lookup(scenes.class_table, table, mapped.names, origin)
    return Scenes(scenes, table, Relabeling(lookup, outlined_ids(table, mapped, origin)))


def _describe_size(dataset: PreparedDataset) -> str:
    schema = dataset.schema
    frames = "" if schema.frames == 1 else f" in clips of {schema.frames} frames"
    return f"{schema.width}x{schema.height}{frames}"


@dataclasses.dataclass(frozen=True)
class Relabeled:
    """Examples whose label maps are in other classes."""

    examples: Source
    relabel: Relabeling

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict:
        example = self.examples[index]
        return {**example, "label": self.relabel(example["label"])}


@dataclasses.dataclass(frozen=True)
class Frames:
    """Label maps with the pictures that a function of index and example names."""

    examples: Source
    picture_of: Callable[[int, dict], np.ndarray]
    is_ignored: np.ndarray | None = None
    """Pixels to leave out of training, bool [N, T, H, W, 1]."""

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict:
        example = self.examples[index]
        label = example["label"]
        if self.is_ignored is not None:
            label = np.where(self.is_ignored[index], VOID, label)
        return {"image": self.picture_of(index, example), "label": label, "name": example["name"]}


def translate_scenes(scenes: Scenes, draw: Draw, path: pathlib.Path) -> np.ndarray:
    """Translates all scenes, once: the file keeps them, as memory could not hold many.

    Args:
        scenes: what is translated.
        draw: the pictures of the model.
        path: of the file, .npy.

    Returns:
        uint8 RGB [N, T, H, W, 3].
    """
    schema = scenes.dataset.schema
    shape = (len(scenes.source), schema.frames, schema.height, schema.width, 3)
    return _fill(scenes.source, draw, path, shape, np.uint8, "translating")


def find_disagreement(
    frames: Frames, class_table: ClassTable, predict: Predict, path: pathlib.Path
) -> np.ndarray:
    """Where a segmenter finds another class in translated scenes than they have, once.

    Args:
        frames: the scenes with their translations.
        class_table: of their label maps.
        predict: the segmenter, trained on real images.
        path: of the file that keeps the answer, .npy.

    Returns:
        bool [N, T, H, W, 1].
    """
    example = frames[0]

    def disagree(batch: dict) -> np.ndarray:
        pictures = batch["image"].reshape(-1, *batch["image"].shape[2:])
        labels = batch["label"].reshape(-1, *batch["label"].shape[2:])
        return disagrees(predict(pictures), labels, class_table).reshape(batch["label"].shape)

    shape = (len(frames), *example["label"].shape)
    return _fill(frames, disagree, path, shape, bool, "comparing")


def _fill(
    source: Source, draw: Draw, path: pathlib.Path, shape: tuple[int, ...], dtype: type, title: str
) -> np.ndarray:
    """Keeps what `draw` makes of every example in a file, which appears whole or not at all."""
    if path.exists():
        return np.load(path, mmap_mode="r")
    unfinished = path.with_suffix(".part")
    values = np.lib.format.open_memmap(unfinished, "w+", dtype, shape)
    batch_size = min(len(source), batch_size_for(*shape[2:4]))
    start = 0
    with tqdm.tqdm(total=len(source), desc=title, unit="example") as bar:
        for batch, valid in eval_batches(source, batch_size):
            values[start : start + valid] = draw(batch)[:valid]
            start += valid
            bar.update(valid)
    values.flush()
    unfinished.rename(path)
    return values
