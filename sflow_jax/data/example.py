"""The schema of prepared examples, the same for every dataset."""

import dataclasses
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from sflow_jax.data import images

PNG_KEYS = ("image", "label", "instance", "cg")


@dataclasses.dataclass(frozen=True)
class Schema:
    """What an example holds.

    Arrays of an example with T frames:
        image: uint8 [T, H, W, 3], RGB.
        label: uint8 [T, H, W, 1], class ids.
        instance: uint16 [T, H, W, 1], class id * 1000 + number for a counted object, else class id.
        cg: uint8 [T, H, W, 3], the simulator's image, RGB.
        depth: float16 [T, H, W, 1], meters.
        flow: float16 [H, W, 2], OpenCV's Farneback flow from frame 0 to 1 in pixels, x first; like
            the two below, of pairs only.
        exact_flow: float16 [H, W, 2], the simulator's flow from frame 0 to 1 in pixels, x first.
        occlusion: uint8 [H, W, 1], 1 where what frame 0 shows is hidden or outside in frame 1.
        name: str, the source of the example, such as 'train/seq/0007'.

    Attributes:
        height: H, in pixels.
        width: W, in pixels.
        frames: T, 1 for images, 2 for pairs of consecutive frames, more for clips.
        instance: whether examples have the array `instance`; likewise `cg`, `depth`, `flow`,
            `exact_flow` and `occlusion`.
    """

    height: int
    width: int
    frames: int = 1
    instance: bool = False
    cg: bool = False
    depth: bool = False
    flow: bool = False
    exact_flow: bool = False
    occlusion: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The names of an example's arrays, without `name`."""
        optional = ("instance", "cg", "depth", "flow", "exact_flow", "occlusion")
        return ("image", "label", *(key for key in optional if getattr(self, key)))

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of the array `key`."""
        if key in ("flow", "exact_flow"):
            return (self.height, self.width, 2)
        if key == "occlusion":
            return (self.height, self.width, 1)
        return (self.frames, self.height, self.width, 3 if key in ("image", "cg") else 1)

    def features(self) -> tfds.features.FeaturesDict:
        """How tensorflow-datasets stores an example."""
        features = {key: self._feature(key) for key in self.keys}
        return tfds.features.FeaturesDict(features | {"name": tfds.features.Text()})

    def _feature(self, key: str) -> tfds.features.FeatureConnector:
        if key in PNG_KEYS:
            image = tfds.features.Image(
                shape=self.shape(key)[1:], dtype=_dtype(key), encoding_format="png"
            )
            return tfds.features.Sequence(image, length=self.frames)
        return tfds.features.Tensor(shape=self.shape(key), dtype=_dtype(key), encoding="bytes")


def encode_arrays(example: Mapping[str, np.ndarray | str], schema: Schema) -> dict:
    """Encodes an example for tensorflow-datasets.

    Images become PNG bytes here, because tensorflow-datasets would need TensorFlow to encode
    arrays. Floating-point arrays may have any precision; they are stored as float16.

    Args:
        example: the arrays of `Schema`, and `name`; keys that the schema lacks are left out.
        schema: what to store.

    Raises:
        ValueError: an array's shape or type is not the schema's.
    """
    record: dict[str, Any] = {"name": example["name"]}
    for key in schema.keys:
        array = np.asarray(example[key])
        if array.shape != schema.shape(key):
            raise ValueError(f"{key}: found shape {array.shape}, expected {schema.shape(key)}")
        if key in PNG_KEYS:
            if array.dtype != _dtype(key):
                raise ValueError(f"{key}: found {array.dtype}, expected {np.dtype(_dtype(key))}")
            record[key] = [io.BytesIO(images.encode_png(frame)) for frame in array]
        else:
            record[key] = array.astype(_dtype(key))
    return record


def decode_arrays(record: Mapping, schema: Schema) -> dict[str, np.ndarray | str]:
    """Turns a record that tensorflow-datasets read into an example.

    Args:
        record: from `builder.as_data_source(split)`.
        schema: the schema that the record was encoded with.

    Returns:
        The arrays of `Schema`, and `name`.
    """
    example: dict[str, np.ndarray | str] = {
        key: np.asarray(record[key], _dtype(key)).reshape(schema.shape(key)) for key in schema.keys
    }
    return example | {"name": record["name"].decode()}


def _dtype(key: str) -> type:
    if key == "instance":
        return np.uint16
    return np.uint8 if key in ("image", "label", "cg", "occlusion") else np.float16
