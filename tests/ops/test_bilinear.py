import cv2
import jax
import numpy as np
import pytest
from jax.test_util import check_grads

from sflow_jax.ops import bilinear


def random_positions(size, of, seed=0):
    """Positions inside an image of the size `of`, away from the kinks at whole pixels."""
    random = np.random.default_rng(seed)
    y, x = (random.integers(0, side - 1, size) + random.uniform(0.1, 0.9, size) for side in of)
    return x, y


def test_reads_as_opencv_does():
    image = np.random.default_rng(0).normal(size=(7, 9, 3)).astype(np.float32)
    # OpenCV's shares are of 1/32 pixel.
    x, y = (np.float32(np.round(32 * side) / 32) for side in random_positions((5, 4), (7, 9)))
    expected = cv2.remap(image, x, y, cv2.INTER_LINEAR)
    found = bilinear.read(image[None], x[None], y[None])[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    whole_x, whole_y = np.meshgrid(np.arange(9.0), np.arange(7.0))
    np.testing.assert_array_equal(
        bilinear.read(image[None], whole_x[None], whole_y[None])[0], image
    )


@pytest.mark.parametrize("of", [(6, 5), (2, 2)], ids=str)
def test_gradients_equal_finite_differences(of):
    with jax.enable_x64(True):
        image = np.random.default_rng(1).normal(size=(2, *of, 3))
        x, y = random_positions((2, 3, 4), of)
        check_grads(bilinear.read, (image, x, y), order=1, modes=["rev"])


def test_pixels_that_are_read_often_get_every_gradient():
    image, center = np.zeros((1, 3, 3, 1), np.float32), np.ones((1, 2, 5), np.float32)
    gradient = jax.grad(lambda image: bilinear.read(image, center, center).sum())(image)
    expected = np.zeros((3, 3))
    expected[1, 1] = 10
    np.testing.assert_array_equal(gradient[0, ..., 0], expected)
