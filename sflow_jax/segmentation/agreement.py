"""Whether pictures show what their label maps say, as a segmenter sees it."""

import dataclasses

import numpy as np

from sflow_jax.data.labels import VOID, ClassTable
from sflow_jax.segmentation.scores import class_iou, confusion_matrix, pixel_accuracy


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Of one picture with its label map; pixels that are not scored are left out.

    Attributes:
        share: of the pixels in which the segmenter finds the class of the label map, in [0, 1];
            None where no pixel is scored.
        class_iou: of what it finds with the label map, by the name of each scored class that is in
            either: what is lost and what is invented both lower it.
        mask: uint8 [H, W, 1], 255 where it finds the class of the label map or none is scored.
    """

    share: float | None
    class_iou: dict[str, float]
    mask: np.ndarray


def disagrees(predicted: np.ndarray, label_maps: np.ndarray, table: ClassTable) -> np.ndarray:
    """Where a segmenter finds another class than the label maps have; so in all void pixels.

    Args:
        predicted: eval ids of the pictures, [B, H, W].
        label_maps: ids of the table, uint8 [B, H, W, 1].
        table: of the label maps.

    Returns:
        bool [B, H, W, 1].
    """
    return predicted[..., None] != table.eval_lookup[label_maps]


def measure_agreement(predicted: np.ndarray, label_map: np.ndarray, table: ClassTable) -> Agreement:
    """The agreement of one picture.

    Args:
        predicted: its eval ids, [H, W].
        label_map: ids of the table, uint8 [H, W, 1].
        table: of the label map.
    """
    true_ids = table.eval_lookup[label_map]
    matrix = confusion_matrix(true_ids[..., 0], predicted, table.num_eval_classes)
    ious = zip(table.eval_names, class_iou(matrix), strict=True)
    share = pixel_accuracy(matrix)
    is_lost = disagrees(predicted[None], label_map[None], table)[0] & (true_ids != VOID)
    return Agreement(
        share=None if np.isnan(share) else round(share, 4),
        class_iou={name: round(float(iou), 4) for name, iou in ious if not np.isnan(iou)},
        mask=np.where(is_lost, 0, 255).astype(np.uint8),
    )
