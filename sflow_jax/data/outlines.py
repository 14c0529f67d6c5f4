"""Label maps as people draw them: by outlines, not leaf by leaf."""

import cv2
import numpy as np

_GAP = 1 / 16  # of the height of an image: the widest gap that an annotator does not draw


def fill_gaps(label_map: np.ndarray, class_id: int, behind: np.ndarray) -> np.ndarray:
    """Gives the gaps in things of a class, such as the crowns of trees, to that class.

    A simulator's labels have every leaf, and what shines through between them; annotators of
    photographs draw around the crown.

    Args:
        label_map: uint8 [H, W], ids.
        class_id: of the class with gaps.
        behind: which ids a gap may show, bool [256]; other classes stand before it, and stay.

    Returns:
        uint8 [H, W], in which gaps up to a sixteenth of H wide are closed.
    """
    radius = max(1, round(label_map.shape[0] * _GAP / 2))
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    mask = (label_map == class_id).astype(np.uint8)
    # With a border: OpenCV would take what lies outside for part of the class when it erodes.
    bordered = cv2.copyMakeBorder(mask, *(radius,) * 4, cv2.BORDER_CONSTANT, value=0)
    closed = cv2.morphologyEx(bordered, cv2.MORPH_CLOSE, disk)[radius:-radius, radius:-radius]
    return np.where((closed > 0) & behind[label_map], np.uint8(class_id), label_map)
