"""Scores that are summed up batch by batch over the pictures of one row of a score table.

A score sees the pictures of its row beside the real images and the label maps of the same scenes,
and gives named numbers at the end; memory does not grow with the number of pictures.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from sflow_jax.data.labels import ClassTable
from sflow_jax.metrics import segmentation

Result = dict[str, float | dict[str, float]]

Predict = Callable[[np.ndarray], np.ndarray]
"""A segmenter: uint8 RGB [B, H, W, 3] to eval ids [B, H, W]."""


class Score(Protocol):
    """One kind of score for one row."""

    def update(self, pictures: np.ndarray, real: np.ndarray, label: np.ndarray) -> None:
        """Adds a batch.

        Args:
            pictures: of the row, uint8 RGB [B, H, W, 3].
            real: the real images, uint8 RGB [B, H, W, 3].
            label: class ids, uint8 [B, H, W, 1].
        """

    def result(self) -> Result:
        """The numbers by name."""


class MeanL1:
    """`l1`: mean absolute difference to the real image over pixels and channels, range [-1, 1]."""

    def __init__(self) -> None:
        self._sum, self._count = 0.0, 0

    def update(self, pictures: np.ndarray, real: np.ndarray, label: np.ndarray) -> None:
        """Adds a batch; see `Score`."""
        difference = np.abs(pictures.astype(np.int16) - real)
        self._sum += float(difference.sum(dtype=np.int64)) / 127.5
        self._count += difference.size

    def result(self) -> Result:
        """The numbers by name."""
        return {"l1": self._sum / self._count}


class Segmentation:
    """How well a segmenter finds the classes of the label map: see `segmentation.Scores`."""

    def __init__(self, predict: Predict, class_table: ClassTable) -> None:
        self._predict, self._class_table = predict, class_table
        self._matrix = 0

    def update(self, pictures: np.ndarray, real: np.ndarray, label: np.ndarray) -> None:
        """Adds a batch; see `Score`."""
        true_ids = self._class_table.eval_lookup[label[..., 0]]
        self._matrix = self._matrix + segmentation.confusion_matrix(
            true_ids, self._predict(pictures), self._class_table.num_eval_classes
        )

    def result(self) -> Result:
        """The numbers by name; `class_iou` by class."""
        scores = segmentation.scores(self._matrix)
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
