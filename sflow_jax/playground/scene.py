"""The scenes of the page: those of the run's own dataset, and what a visitor uploads."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from sflow_jax.data import images
from sflow_jax.data.datasets import SMALLEST_SIDE
from sflow_jax.data.labels import ClassTable
from sflow_jax.data.prepared import open_dataset
from sflow_jax.errors import InputError

_SPLITS = "test", "validation", "train"
_MOST_SCENES = 50


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a generator is given.

    Attributes:
        name: which decides its colors, as in sampling.
        label: uint8 [H, W, 1], class ids.
        edge_image: uint8 RGB [H, W, 3], the CG frame.
    """

    name: str
    label: np.ndarray
    edge_image: np.ndarray


def stored_scenes(directory: pathlib.Path) -> Mapping[str, Scene]:
    """The first scenes of a prepared dataset's test split, by name.

    Without a test split, those of another one; without CG frames, with the real ones.

    Raises:
        InputError: the dataset is gone, damaged or empty.
    """
    dataset = open_dataset(directory)
    split = next((split for split in _SPLITS if dataset.num_examples.get(split)), None)
    if split is None:
        raise InputError(f"{directory}: found no examples, expected some to choose from")
    source = dataset.source(split)
    guide = "cg" if "cg" in dataset.schema.keys else "image"
    scenes = {}
    for index in range(min(len(source), _MOST_SCENES)):
        example = source[index]
        name = example["name"]
        scenes[name] = Scene(name, example["label"][0], example[guide][0])
    return scenes


def uploaded_scene(
    label: pathlib.Path | None, edge_image: pathlib.Path | None, class_table: ClassTable
) -> Scene:
    """Reads and checks the files that a visitor chose.

    Raises:
        InputError: one is missing or damaged, or they do not fit together or to the run; it names
            the file as the visitor does, without folders.
    """
    if label is None or edge_image is None:
        absent = "label map" if label is None else "CG frame"
        raise InputError(f"found no {absent}, expected two files, a label map and a CG frame")
    try:
        label_map = images.read_label_map(label, class_table)
        color = images.read_color(edge_image)
        height, width = label_map.shape[:2]
        images.require_size(edge_image, color.shape[1::-1], label, (width, height))
        if min(height, width) < SMALLEST_SIDE:
            raise InputError(
                f"{label}: found {width}x{height} pixels, expected at least "
                f"{SMALLEST_SIDE}x{SMALLEST_SIDE}"
            )
    except InputError as error:
        message = str(error)
        for path in (label, edge_image):
            message = message.replace(str(path), path.name)
        raise InputError(message) from error
    return Scene(label.stem, label_map, color)
