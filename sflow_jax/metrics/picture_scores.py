"""Scores that are summed up batch by batch over the pictures of one row of a score table.

A score sees the pictures of its row with the examples of the same scenes, and gives named numbers
at the end; memory does not grow with the number of pictures. Several hosts each show it their own
pictures, and all get the numbers of all.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from sflow_jax import sharding
from sflow_jax.data.labels import ClassTable
from sflow_jax.segmentation.labeling import Predict
from sflow_jax.segmentation.scores import confusion_matrix, score_matrix

Result = Mapping[str, float | Mapping[str, float]]
"""Numbers by name; `class_iou` has one for each class."""


def number(result: Result, name: str) -> float:
    """One number of a result."""
    value = result[name]
    assert not isinstance(value, Mapping), name
    return value


def class_ious(result: Result) -> Mapping[str, float]:
    """The IoU of each class by its name; empty where no segmenter scored."""
    values = result.get("class_iou", {})
    assert isinstance(values, Mapping)
    return values


class Score(Protocol):
    """One kind of score for one row."""

    def update(self, pictures: np.ndarray, examples: Mapping[str, np.ndarray]) -> None:
        """Adds a batch.

        Args:
            pictures: of the row, uint8 RGB [B, T, H, W, 3].
            examples: of the dataset's schema, with a leading axis of B.
        """

    def result(self) -> Result:
        """The numbers by name, over the pictures of all hosts, which have to ask together."""


class MeanL1:
    """`l1`: mean absolute difference to the real image over pixels and channels, range [-1, 1]."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def update(self, pictures: np.ndarray, examples: Mapping[str, np.ndarray]) -> None:
        """Adds a batch; see `Score`."""
        difference = np.abs(pictures.astype(np.int16) - examples["image"])
        self._sum += float(difference.sum(dtype=np.int64)) / 127.5
        self._count += difference.size

    def result(self) -> Result:
        """The numbers by name."""
        totals = sharding.sum_over_hosts({"sum": self._sum, "count": self._count})
        return {"l1": float(totals["sum"] / totals["count"])}


class Segmentation:
    """How well a segmenter finds the classes of the label map: see `SegmentationScores`."""

    def __init__(self, predict: Predict, class_table: ClassTable) -> None:
        self._predict, self._class_table = predict, class_table
        num_classes = class_table.num_eval_classes
        self._matrix = np.zeros((num_classes + 1, num_classes), np.int64)

    def update(self, pictures: np.ndarray, examples: Mapping[str, np.ndarray]) -> None:
        """Adds a batch; see `Score`."""
        true_ids = self._class_table.eval_lookup[examples["label"][..., 0]]
        predicted = self._predict(pictures.reshape(-1, *pictures.shape[2:]))
        self._matrix += confusion_matrix(
            true_ids, predicted.reshape(true_ids.shape), self._class_table.num_eval_classes
        )

    def result(self) -> Result:
        """The numbers by name; `class_iou` by class."""
        scores = score_matrix(sharding.sum_over_hosts({"matrix": self._matrix})["matrix"])
        names = self._class_table.eval_names
        return {
            "mean_iou": scores.mean_iou,
            "pixel_accuracy": scores.pixel_accuracy,
            "pixel_accuracy_with_void": scores.pixel_accuracy_with_void,
            "mean_class_accuracy": scores.mean_class_accuracy,
            "class_iou": {
                name: float(iou) for name, iou in zip(names, scores.class_iou, strict=True)
            },
        }
