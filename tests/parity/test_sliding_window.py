"""semseg's test protocol against hszhao/semseg, tool/test.py.

The live comparison runs where SFLOW_SEMSEG names a checkout and PyTorch is installed; the golden
values that it gave are checked always, on a network of an eighth of the width.
"""

import dataclasses

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.segmentation import pspnet as model
from sflow_jax.segmentation import scores, sliding_window
from tests.parity import cases, pspnet
from tests.parity.pspnet import PROTOCOL, SMALL

TOLERANCE = 1e-4
SEEN = 10 * TOLERANCE  # by so much a mistake has to move a golden value

GOLDEN = cases.load_golden("pspnet")


@pytest.mark.parametrize("sizes", [SMALL, *pspnet.FULL.values()], ids=["small", *pspnet.FULL])
def test_probabilities_and_labels_equal_semseg(sizes):
    pytest.importorskip("torch")
    checkout = pspnet.named_checkout()
    reference = pspnet.create_network(checkout, **sizes)
    expected, labels = pspnet.label(checkout, reference, pspnet.photograph())
    found = our_probabilities(sizes=sizes)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(found.argmax(-1), labels)


def golden_differences(found):
    expected = GOLDEN["probabilities"]
    return np.abs(np.subtract(cases.summary(found), expected))


def our_probabilities(protocol=PROTOCOL, sizes=SMALL):
    return sliding_window.probabilities(pspnet.our_network(**sizes), pspnet.photograph(), protocol)


def test_protocol_has_its_golden_values():
    found = our_probabilities()
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-6)
    assert golden_differences(found).max() < TOLERANCE
    labels = sliding_window.label_image(pspnet.our_network(**SMALL), pspnet.photograph(), PROTOCOL)
    np.testing.assert_allclose(cases.summary(labels), GOLDEN["labels"], atol=1e-2)


def no_flip(logits, window, protocol):
    window = (window - np.float32(protocol.mean)) / np.float32(protocol.std)
    return np.asarray(jax.nn.softmax(logits(np.stack([window, window]))[0]))


def softmax_of_the_average(logits, window, protocol):
    window = (window - np.float32(protocol.mean)) / np.float32(protocol.std)
    found = logits(np.stack([window, window[:, ::-1]]))
    return np.asarray(jax.nn.softmax((found[0] + found[1, :, ::-1]) / 2))


def short_side(height, width, scale, protocol, scaled=sliding_window._scaled_size):
    factor = max(height, width) / min(height, width)
    return scaled(height, width, scale * factor, protocol)


def pad_with_black(image, protocol, pad=sliding_window._pad):
    return pad(image, dataclasses.replace(protocol, mean=(0, 0, 0)))


def pad_at_the_end(image, protocol):
    missing = [max(protocol.crop - side, 0) for side in image.shape[:2]]
    border = cv2.BORDER_CONSTANT
    return (
        cv2.copyMakeBorder(image, 0, missing[0], 0, missing[1], border, value=protocol.mean),
        0,
        0,
    )


PROTOCOL_TRAPS = {
    "no mirror image": ("_label_window", no_flip),
    "softmax behind the average": ("_label_window", softmax_of_the_average),
    "the short side is resized": ("_scaled_size", short_side),
    "black padding": ("_pad", pad_with_black),
    "padding at one end": ("_pad", pad_at_the_end),
}


@pytest.mark.parametrize("trap", PROTOCOL_TRAPS)
def test_golden_probabilities_notice(monkeypatch, trap):
    monkeypatch.setattr(sliding_window, *PROTOCOL_TRAPS[trap])
    assert golden_differences(our_probabilities()).max() > SEEN


SETTINGS = {
    "statistics in [0, 1]": {"mean": model.MEAN, "std": model.STD},
    "a stride of half a window": {"stride_rate": 1 / 2},
    "a single scale": {"scales": (1.0,)},
}


@pytest.mark.parametrize("trap", SETTINGS)
def test_golden_probabilities_notice_the_setting(trap):
    protocol = dataclasses.replace(PROTOCOL, **SETTINGS[trap])
    assert golden_differences(our_probabilities(protocol)).max() > SEEN


def test_settings_of_cityscapes():
    """2048x1024 takes 4 x 2 windows; the step is rounded up, the last ones end at the border."""
    protocol = sliding_window.SlidingWindow()
    assert protocol.mean == pytest.approx((123.675, 116.28, 103.53))
    assert protocol.std == pytest.approx((58.395, 57.12, 57.375))
    assert sliding_window._scaled_size(1024, 2048, 1.0, protocol) == (2048, 1024)
    assert sliding_window._scaled_size(100, 50, 1.0, protocol) == (1024, 2048)
    seen = []

    def logits(windows):
        seen.append(windows.shape)
        return jnp.zeros((*windows.shape[:3], 2))

    image = np.zeros((1024, 2048, 3), np.uint8)
    found = sliding_window.probabilities(logits, image, protocol)
    assert seen == [(2, 713, 713, 3)] * 8
    np.testing.assert_array_equal(found, np.full((1024, 2048, 2), 0.5))
    assert sliding_window._starts(2048, 713, 476) == [0, 476, 952, 1335]
    assert sliding_window._starts(1024, 713, 476) == [0, 311]
    assert sliding_window._starts(713, 713, 476) == [0]


def test_images_are_resized_before_they_are_rounded():
    """What the network sees of a ramp has more than 256 levels."""
    ramp = np.arange(8, dtype=np.uint8)[None, :, None].repeat(8, 0).repeat(3, 2)
    seen = []

    def logits(windows):
        seen.append(np.asarray(windows[0]))
        return windows[..., :2]

    protocol = sliding_window.SlidingWindow(base_size=64, crop=65, mean=(0, 0, 0), std=(1, 1, 1))
    sliding_window.probabilities(logits, ramp, protocol)
    assert len(np.unique(seen[0][0, :, 0])) > 8


def test_mirrored_image_has_mirrored_probabilities():
    """Where windows lie symmetrically, because every window is seen both ways."""
    protocol = dataclasses.replace(PROTOCOL, base_size=89, scales=(1.0,))
    image, network = pspnet.photograph((89, 89)), pspnet.our_network(**SMALL)
    found = sliding_window.probabilities(network, image, protocol)
    mirrored = sliding_window.probabilities(network, image[:, ::-1], protocol)
    np.testing.assert_allclose(mirrored[:, ::-1], found, atol=1e-5)


def test_labels_of_a_set_are_scored_from_one_matrix():
    """Absent classes do not count, void only where it is named; the mean of images is another."""
    protocol = sliding_window.SlidingWindow(base_size=16, crop=9, mean=(127.5,) * 3, std=(1,) * 3)

    def brightness(windows):  # class 0 where dark, 1 where bright, never 2
        bright = jnp.sign(windows[..., :1])
        return jnp.concatenate([-bright, bright, jnp.full_like(bright, -9)], -1)

    images = np.zeros((2, 16, 16, 3), np.uint8)
    images[0, :8] = 255
    truth = (images[..., 0] > 127).astype(np.uint8)
    truth[0, :, :4] = 255
    truth[1, :4] = 1
    matrix = sum(
        scores.confusion_matrix(labels, sliding_window.label_image(brightness, image, protocol), 3)
        for image, labels in zip(images, truth, strict=True)
    )
    result = scores.score_matrix(matrix)
    np.testing.assert_allclose(result.class_iou, [288 / 352, 96 / 160, np.nan])
    assert result.mean_iou == pytest.approx((288 / 352 + 96 / 160) / 2)
    assert result.pixel_accuracy == pytest.approx(384 / 448)
    assert result.pixel_accuracy_with_void == pytest.approx(384 / 512)
