import numpy as np
import pytest

from sflow_jax.segmentation import scores

# Three classes; by hand from the definitions. True: 0 0 0 0 1 1 2 void; predicted: 0 0 1 2 1 0 2 1.
TRUE = np.array([[0, 0, 0, 0], [1, 1, 2, 255]], np.uint8)
PREDICTED = np.array([[0, 0, 1, 2], [1, 0, 2, 1]], np.uint8)


@pytest.fixture
def label_pair():
    rng = np.random.default_rng(3)
    true_labels = rng.integers(0, 5, (6, 9, 11)).astype(np.uint8)
    true_labels[rng.random(true_labels.shape) < 0.2] = 255
    return true_labels, rng.integers(0, 5, true_labels.shape)


def test_hand_computed_values():
    matrix = scores.confusion_matrix(TRUE, PREDICTED, 3)
    np.testing.assert_array_equal(matrix, [[2, 1, 1], [1, 1, 0], [0, 0, 1], [0, 1, 0]])
    result = scores.score_matrix(matrix)
    assert result.pixel_accuracy == pytest.approx(4 / 7)
    assert result.pixel_accuracy_with_void == pytest.approx(4 / 8)
    assert result.mean_class_accuracy == pytest.approx((2 / 4 + 1 / 2 + 1) / 3)
    np.testing.assert_allclose(result.class_iou, [2 / 5, 1 / 3, 1 / 2])
    assert result.mean_iou == pytest.approx((2 / 5 + 1 / 3 + 1 / 2) / 3)


def test_scores_equal_sets_of_pixels_counted_one_by_one(label_pair):
    true_labels, predicted = label_pair
    valid = true_labels != 255
    expected = []
    for i in range(5):
        truth, guess = (true_labels == i) & valid, (predicted == i) & valid
        expected.append((truth & guess).sum() / (truth | guess).sum())
    matrix = scores.confusion_matrix(true_labels, predicted, 5)
    np.testing.assert_allclose(scores.class_iou(matrix), expected)
    correct = (true_labels == predicted).sum()
    assert scores.pixel_accuracy(matrix) == pytest.approx(correct / valid.sum())
    assert scores.pixel_accuracy(matrix, count_void=True) == correct / true_labels.size


def test_absent_classes_are_nan_and_left_out_of_the_mean():
    matrix = scores.confusion_matrix(TRUE, PREDICTED, 3)
    larger = scores.confusion_matrix(TRUE, PREDICTED, 6)
    result = scores.score_matrix(larger)
    np.testing.assert_array_equal(np.isnan(result.class_iou), [False] * 3 + [True] * 3)
    assert result.mean_iou == scores.mean_iou(matrix)
    assert result.mean_class_accuracy == scores.score_matrix(matrix).mean_class_accuracy


def test_class_that_is_only_predicted_counts_as_zero():
    matrix = scores.confusion_matrix(np.zeros(4, int), np.array([0, 0, 0, 1]), 3)
    np.testing.assert_array_equal(scores.class_iou(matrix), [0.75, 0, np.nan])
    assert scores.mean_iou(matrix) == 0.375
    assert scores.score_matrix(matrix).mean_class_accuracy == 0.75


def test_predictions_on_void_change_only_the_accuracy_that_counts_void(label_pair):
    true_labels, predicted = label_pair
    other = np.where(true_labels == 255, 4 - predicted, predicted)
    a, b = (
        scores.score_matrix(scores.confusion_matrix(true_labels, labels, 5))
        for labels in (predicted, other)
    )
    np.testing.assert_array_equal(a.class_iou, b.class_iou)
    assert a.pixel_accuracy == b.pixel_accuracy
    assert a.pixel_accuracy_with_void == b.pixel_accuracy_with_void < a.pixel_accuracy


def test_sum_of_batches_equals_whole(label_pair):
    true_labels, predicted = label_pair
    whole = scores.confusion_matrix(true_labels, predicted, 5)
    parts = sum(
        scores.confusion_matrix(t[None], p[None], 5)
        for t, p in zip(true_labels, predicted, strict=True)
    )
    np.testing.assert_array_equal(whole, parts)
    assert whole.sum() == true_labels.size


def test_renaming_classes_permutes_the_scores(label_pair):
    true_labels, predicted = label_pair
    order = np.array([3, 1, 4, 0, 2])
    lookup = np.full(256, 255)
    lookup[:5] = order
    iou = scores.class_iou(scores.confusion_matrix(true_labels, predicted, 5))
    renamed = scores.confusion_matrix(lookup[true_labels], order[predicted], 5)
    np.testing.assert_allclose(scores.class_iou(renamed)[order], iou)


def test_perfect_prediction_scores_one(label_pair):
    true_labels, _ = label_pair
    matrix = scores.confusion_matrix(true_labels, np.where(true_labels == 255, 0, true_labels), 5)
    result = scores.score_matrix(matrix)
    assert result.mean_iou == result.pixel_accuracy == result.mean_class_accuracy == 1
    np.testing.assert_array_equal(result.class_iou, 1)


def test_only_void_has_no_score_and_no_warning(recwarn):
    result = scores.score_matrix(scores.confusion_matrix(np.full(3, 255), np.zeros(3, int), 2))
    assert np.isnan([result.mean_iou, result.pixel_accuracy, result.mean_class_accuracy]).all()
    assert result.pixel_accuracy_with_void == 0
    assert not recwarn.list


@pytest.mark.parametrize(
    ("true_labels", "predicted", "message"),
    [
        ([0, 7], [0, 0], r"true labels outside the classes: \[7\]"),
        ([0, 1], [0, 255], r"predicted labels outside the classes: \[255\]"),
        ([-1, 1], [0, 1], r"true labels outside the classes: \[-1\]"),
        ([0, 1, 1], [0, 1], r"true labels are \(3,\), predicted labels \(2,\)"),
    ],
)
def test_labels_outside_the_classes_are_refused(true_labels, predicted, message):
    with pytest.raises(ValueError, match=message):
        scores.confusion_matrix(np.array(true_labels), np.array(predicted), 3)


def test_label_equal_to_the_number_of_classes_is_not_taken_for_void():
    with pytest.raises(ValueError, match="outside"):
        scores.confusion_matrix(np.array([3]), np.array([0]), 3)


def test_table_lists_classes_and_marks_absent_ones():
    matrix = scores.confusion_matrix(TRUE, PREDICTED, 4)
    table = scores.format_class_scores(scores.score_matrix(matrix), ["road", "car", "sky", "bus"])
    rows = [line.rsplit(None, 1) for line in table.splitlines()]
    assert ["road", "40.00"] in rows
    assert ["bus", "-"] in rows
    assert ["mean IoU", "41.11"] in rows
    assert ["pixel accuracy (void counted)", "50.00"] in rows
