import functools

import cv2
import jax
import numpy as np
import pytest

from sflow_jax.segmentation.labeling import predict_with_pspnet, predict_with_unet
from sflow_jax.segmentation.pspnet import BLOCKS, PSPNet
from sflow_jax.segmentation.sliding_window import SlidingWindow, probabilities
from sflow_jax.segmentation.unet import UNet
from tests.fast_jit import FAST
from tests.random_weights import init_random


@pytest.fixture(autouse=True)
def compile_fast(monkeypatch):
    monkeypatch.setattr(jax, "jit", functools.partial(jax.jit, compiler_options=FAST))


def test_pspnet_labels_images_in_windows_at_their_own_size():
    network = PSPNet(3, BLOCKS[50], width=4)
    network_variables = init_random(network, np.zeros((1, 9, 9, 3), np.float32))
    images = np.random.RandomState(0).randint(0, 256, (2, 5, 8, 3)).astype(np.uint8)
    images = np.stack([cv2.resize(image, (40, 30)) for image in images])
    predict = predict_with_pspnet(network, network_variables, SlidingWindow(crop=25), True)
    found = predict(images)
    apply = jax.jit(network.apply)
    settings = SlidingWindow(base_size=40, crop=25)
    for image, labels in zip(images, found, strict=True):
        expected = probabilities(lambda x: apply(network_variables, x), image, settings)
        assert expected.shape == (30, 40, 3)
        np.testing.assert_array_equal(labels, expected.argmax(-1))


def test_the_unet_labels_a_batch_at_once():
    network = UNet(3)
    network_variables = init_random(network, np.zeros((1, 16, 16, 3), np.float32))
    pictures = np.random.RandomState(0).randint(0, 256, (2, 20, 24, 3)).astype(np.uint8)
    found = predict_with_unet(network, network_variables)(pictures)
    logits = jax.jit(network.apply)(network_variables, pictures / np.float32(127.5) - 1)
    assert found.shape == (2, 20, 24)
    assert len(np.unique(found)) > 1
    assert (found == logits.argmax(-1)).mean() > 0.999  # compiled otherwise
