import numpy as np

from sflow_jax.segmentation.agreement import disagrees, measure_agreement
from tests.tiny_run import TABLE

# Ids 0 is void, 2 road, 3 car, 5 sky, whose eval ids are none, 0, 1, 2.
LABELS = np.array([[0, 2, 2, 2], [0, 3, 3, 2]], np.uint8)[..., None]
PREDICTED = np.array([[1, 0, 0, 1], [0, 1, 0, 0]])


def test_lost_and_invented_pixels_lower_the_agreement_and_void_does_not():
    agreement = measure_agreement(PREDICTED, LABELS, TABLE)
    assert agreement.share == round(4 / 6, 4)
    # Road: 3 found, 1 lost, 1 invented. Car: 1 found, 1 lost, 1 invented. Sky is in neither.
    assert agreement.class_iou == {"road": 0.6, "car": round(1 / 3, 4)}
    expected = [[255, 255, 255, 0], [255, 255, 0, 255]]
    np.testing.assert_array_equal(agreement.mask[..., 0], expected)


def test_without_scored_pixels_there_is_no_agreement():
    agreement = measure_agreement(PREDICTED, np.zeros_like(LABELS), TABLE)
    assert (agreement.share, agreement.class_iou) == (None, {})
    assert (agreement.mask == 255).all()


def test_the_filter_of_scenes_leaves_void_out_of_training_as_well():
    expected = [[True, False, False, True], [True, False, True, False]]
    found = disagrees(PREDICTED[None], LABELS[None], TABLE)
    np.testing.assert_array_equal(found[0, ..., 0], expected)
