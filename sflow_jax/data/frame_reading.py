"""Reads the arrays of an example from PNG files; worker processes import only this."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sflow_jax.data import images, labels
from sflow_jax.data.flow import farneback_flow


@dataclasses.dataclass(frozen=True)
class Frame:
    """The files of one frame.

    Attributes:
        name: sequence and file name without extension, such as 'aachen/aachen_000000_000019'.
        files: the PNG of each key: 'image', 'label' and, where the dataset has them, 'instance'
            and 'cg'. 'annotation' stands for both label and instance.
    """

    name: str
    files: Mapping[str, pathlib.Path]


ReadFrame = Callable[[Frame, labels.ClassTable], dict[str, np.ndarray]]
"""Reads the arrays of a frame, [H, W, C] in the size of its files."""


def read_frame(frame: Frame, class_table: labels.ClassTable) -> dict[str, np.ndarray]:
    """Reads each key from the file of its own.

    Raises:
        InputError: a file is damaged or has labels outside the class table.
    """
    arrays = {}
    for key, path in frame.files.items():
        if key == "label":
            arrays[key] = images.read_label_map(path, class_table)
        elif key == "instance":
            arrays[key] = images.read_instance_map(path)
        else:
            arrays[key] = images.read_color(path)
    return arrays


def read_annotated_frame(frame: Frame, class_table: labels.ClassTable) -> dict[str, np.ndarray]:
    """Reads the image, and labels and instances from the one annotation that holds both.

    Raises:
        InputError: a file is damaged or has labels outside the class table.
    """
    label, instance = images.read_annotation(frame.files["annotation"], class_table)
    return {
        "image": images.read_color(frame.files["image"]),
        "label": label,
        "instance": instance,
    }


@dataclasses.dataclass(frozen=True)
class ReadExample:
    """Reads the frames of an example, resizes them and adds the flow within a pair.

    A class, so that it can be pickled to other processes.

    Attributes:
        read: reads one frame.
        class_table: the meaning of the label maps.
        size: height and width of the examples, pixels.
    """

    read: ReadFrame
    class_table: labels.ClassTable
    size: tuple[int, int]

    def __call__(self, frames: Sequence[Frame]) -> dict:
        """The arrays of `example.Schema`, and `name`.

        Raises:
            InputError: a file is damaged or has labels outside the class table.
        """
        parts = [self._read_resized(frame) for frame in frames]
        arrays = {key: np.stack([part[key] for part in parts]) for key in parts[0]}
        if len(frames) == 2:
            arrays["flow"] = farneback_flow(*arrays["image"])
        return arrays | {"name": frames[0].name}

    def _read_resized(self, frame: Frame) -> dict[str, np.ndarray]:
        arrays = self.read(frame, self.class_table)
        return {
            key: images.resize_color(array, *self.size)
            if key in ("image", "cg")
            else images.resize_map(array, *self.size)
            for key, array in arrays.items()
        }
