"""Scores of semantic segmentation, all read from one confusion matrix over the whole set.

Sum the matrices of the batches, then score once: the mean over images of an IoU is another number.

The matrix n is int64 [C + 1, C]: n[i, j] counts the pixels of true class i that were predicted as
class j, and its last row counts the void pixels (true label 255), which have no true class. Below,
C is the number of classes and sums over i or j leave the void row out unless it is named.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from sflow_jax.data.labels import VOID


@dataclasses.dataclass(frozen=True)
class SegmentationScores:
    """Scores in [0, 1], NaN where they are not defined.

    Attributes:
        pixel_accuracy: correct pixels over pixels with a true class; void is ignored.
        pixel_accuracy_with_void: correct pixels over all pixels; void pixels count as wrong.
        mean_class_accuracy: mean recall over the classes that occur in the true labels.
        mean_iou: mean IoU over the classes with a non-empty union.
        class_iou: float64 [C], NaN for the classes that neither truth nor prediction contains.
    """

    pixel_accuracy: float
    pixel_accuracy_with_void: float
    mean_class_accuracy: float
    mean_iou: float
    class_iou: np.ndarray


def confusion_matrix(
    true_labels: np.ndarray, predicted_labels: np.ndarray, num_classes: int
) -> np.ndarray:
    """Counts how often each true class was predicted as each class.

    Args:
        true_labels: integers of any shape in 0 .. num_classes - 1, or 255 for void.
        predicted_labels: integers of the same shape in 0 .. num_classes - 1; a network always
            predicts something, also on void pixels.
        num_classes: C, at most 255.

    Returns:
        int64 [C + 1, C]; the last row counts the void pixels. Add the matrices of several batches.

    Raises:
        ValueError: if the shapes differ or a label is outside its range.
    """
    true_labels, predicted_labels = np.asarray(true_labels), np.asarray(predicted_labels)
    if true_labels.shape != predicted_labels.shape:
        raise ValueError(
            f"true labels are {true_labels.shape}, predicted labels {predicted_labels.shape}"
        )
    is_void = true_labels == VOID
    _check_range("true", true_labels[~is_void], num_classes)
    _check_range("predicted", predicted_labels, num_classes)
    rows = np.where(is_void, num_classes, true_labels).astype(np.int64).ravel()
    indices = rows * num_classes + predicted_labels.astype(np.int64).ravel()
    counts = np.bincount(indices, minlength=(num_classes + 1) * num_classes)
    return counts.reshape(num_classes + 1, num_classes)


def _check_range(kind: str, labels: np.ndarray, num_classes: int) -> None:
    outside = labels[(labels < 0) | (labels >= num_classes)]
    if outside.size:
        raise ValueError(f"{kind} labels outside the classes: {np.unique(outside).tolist()}")


def pixel_accuracy(matrix: np.ndarray, count_void: bool = False) -> float:
    """Share of correct pixels: sum_i n[i, i] / sum_ij n[i, j].

    Args:
        matrix: int64 [C + 1, C] from `confusion_matrix`.
        count_void: the void row joins the denominator, so every void pixel counts as wrong.

    Returns:
        A number in [0, 1], NaN without pixels.
    """
    counted = matrix if count_void else matrix[:-1]
    return float(_ratio(np.trace(matrix), counted.sum()))


def class_accuracy(matrix: np.ndarray) -> np.ndarray:
    """Recall of each class: n[i, i] / sum_j n[i, j].

    Returns:
        float64 [C], NaN for classes that the true labels do not contain.
    """
    return _ratio(np.diagonal(matrix), matrix[:-1].sum(1))


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """Intersection over union: n[i, i] / (sum_j n[i, j] + sum_j n[j, i] - n[i, i]).

    Predictions on void pixels do not count, as in the Cityscapes protocol.

    Returns:
        float64 [C], NaN for classes with an empty union: neither true nor predicted anywhere.
    """
    counts = matrix[:-1]
    intersection = np.diagonal(counts)
    return _ratio(intersection, counts.sum(1) + counts.sum(0) - intersection)


def mean_iou(matrix: np.ndarray) -> float:
    """Mean of `class_iou` over the classes with a non-empty union; NaN if there is none.

    A class that is predicted somewhere and true nowhere counts with an IoU of 0.
    """
    return _mean_of_defined(class_iou(matrix))


def score_matrix(matrix: np.ndarray) -> SegmentationScores:
    """All scores of a confusion matrix int64 [C + 1, C]."""
    return SegmentationScores(
        pixel_accuracy=pixel_accuracy(matrix),
        pixel_accuracy_with_void=pixel_accuracy(matrix, count_void=True),
        mean_class_accuracy=_mean_of_defined(class_accuracy(matrix)),
        mean_iou=mean_iou(matrix),
        class_iou=class_iou(matrix),
    )


def format_class_scores(result: SegmentationScores, class_names: Sequence[str]) -> str:
    """A table in percent: one line per class, then the summary; `-` marks absent classes."""
    lines = [("class", "IoU %"), *zip(class_names, map(_percent, result.class_iou), strict=True)]
    summary = {
        "mean IoU": result.mean_iou,
        "mean class accuracy": result.mean_class_accuracy,
        "pixel accuracy (void ignored)": result.pixel_accuracy,
        "pixel accuracy (void counted)": result.pixel_accuracy_with_void,
    }
    lines += [(name, _percent(value)) for name, value in summary.items()]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value:>6}" for name, value in lines)


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.2f}"


def _mean_of_defined(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, NaN where the denominator is zero."""
    safe = np.where(denominator == 0, 1, denominator)
    return np.where(denominator == 0, np.nan, numerator / safe)
