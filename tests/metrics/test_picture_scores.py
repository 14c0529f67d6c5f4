import numpy as np
import pytest

from sflow_jax.metrics.picture_scores import MeanL1, Segmentation
from sflow_jax.metrics.score_table import format_table
from tests.tiny_run import TABLE


def test_l1_is_the_mean_over_all_pixels_in_the_range_of_the_networks():
    random = np.random.RandomState(0)
    pictures, real = random.randint(0, 256, (2, 5, 1, 4, 6, 3)).astype(np.uint8)
    score = MeanL1()
    score.update(pictures[:2], {"image": real[:2]})
    score.update(pictures[2:], {"image": real[2:]})
    expected = np.abs((pictures / 127.5 - 1) - (real / 127.5 - 1)).mean()
    assert score.result() == {"l1": pytest.approx(expected, rel=1e-9)}


def test_segmentation_is_scored_over_the_whole_set():
    # Two pictures: road and car; the segmenter says road everywhere. One pixel in four is void.
    label = np.full((2, 1, 2, 2, 1), 2, np.uint8)
    label[1] = 3
    label[:, :, 0, 0] = 0
    score = Segmentation(lambda pictures: np.zeros(pictures.shape[:3], int), TABLE)
    for index in range(2):
        score.update(np.zeros((1, 1, 2, 2, 3), np.uint8), {"label": label[index : index + 1]})
    result = score.result()
    assert result["pixel_accuracy"] == pytest.approx(3 / 6)
    assert result["pixel_accuracy_with_void"] == pytest.approx(3 / 8)
    assert result["mean_iou"] == pytest.approx((0.5 + 0) / 2)
    assert result["class_iou"]["road"] == 0.5
    assert result["class_iou"]["car"] == 0
    assert np.isnan(result["class_iou"]["sky"])


def test_the_table_shows_rows_and_classes_in_percent():
    nan = float("nan")
    results = {
        "real": {"l1": 0.0, "mean_iou": 1.0, "class_iou": {"road": 1.0, "sky": nan}},
        "generated": {"l1": 0.12345, "mean_iou": 0.5, "class_iou": {"road": 0.25, "sky": nan}},
    }
    assert format_table(results).split("\n") == [
        "               L1  mIoU %",
        "real       0.0000   100.0",
        "generated  0.1235    50.0",
        "",
        "IoU %   real  generated",
        "road   100.0       25.0",
        "sky        -          -",
    ]
