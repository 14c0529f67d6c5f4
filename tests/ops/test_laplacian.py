import cv2
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.ops.laplacian import laplacian, laplacian_edges, to_gray


def random_images(*shape, seed=0):
    """Noise of 8 bits, blurred so that its edges are few, in [-1, 1]."""
    pixels = np.random.RandomState(seed).randint(0, 256, (*shape, 3)).astype(np.uint8)
    blurred = [cv2.GaussianBlur(image, (0, 0), 0.6) for image in pixels]
    return np.stack(blurred).astype(np.float32) / 127.5 - 1


def opencv_strength(images):
    """|Laplacian| of the gray images in [0, 1], by OpenCV: [B, H, W, 1]."""
    grays = [cv2.cvtColor((image + 1) / 2, cv2.COLOR_RGB2GRAY) for image in images]
    maps = [cv2.Laplacian(gray, cv2.CV_32F, borderType=cv2.BORDER_REFLECT_101) for gray in grays]
    return np.abs(np.stack(maps))[..., None]


@pytest.fixture(scope="module")
def images():
    return random_images(2, 37, 50)


def test_gray_and_laplacian_equal_opencv(images):
    gray = to_gray(images)
    expected = [cv2.cvtColor((image + 1) / 2, cv2.COLOR_RGB2GRAY) for image in images]
    np.testing.assert_allclose(gray[..., 0], expected, atol=1e-6)
    np.testing.assert_allclose(np.abs(laplacian(gray)), opencv_strength(images), atol=2e-6)


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.3])
def test_edges_are_where_opencv_exceeds_the_threshold(images, threshold):
    strength = opencv_strength(images)
    edges = np.asarray(laplacian_edges(images, threshold))
    assert edges.dtype == np.float32
    clear = np.abs(strength - threshold) > 1e-5
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(edges[clear], (strength > threshold)[clear])
    assert 0 < edges.mean() < 1


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.95])
def test_a_quantile_fixes_the_density_of_each_image(images, quantile):
    contrasts = np.stack([images[0], 0.1 * images[0]])
    edges = np.asarray(laplacian_edges(contrasts, quantile=quantile))
    np.testing.assert_allclose(edges.mean((1, 2, 3)), 1 - quantile, atol=2e-3)
    expected = [s > np.quantile(s, quantile) for s in opencv_strength(contrasts)]
    assert (edges != expected).mean() < 2e-3


def test_each_image_may_have_its_own_threshold(images):
    scales = np.array([0.5, 2.0], np.float32).reshape(2, 1, 1, 1)
    found = laplacian_edges(images, 0.1, threshold_scale=scales)
    for example, threshold in enumerate((0.05, 0.2)):
        expected = laplacian_edges(images[example : example + 1], threshold)
        np.testing.assert_array_equal(found[example : example + 1], expected)
    scaled = laplacian_edges(images, quantile=0.9, threshold_scale=scales)
    assert scaled[0].mean() > 0.1 > scaled[1].mean()


@pytest.mark.parametrize("options", [{}, {"quantile": 0.9}, {"threshold": 0.0}])
def test_a_flat_image_has_no_edges(options):
    flat = jnp.full((1, 16, 24, 3), 0.25)
    np.testing.assert_array_equal(laplacian_edges(flat, **options), 0)


def test_bfloat16_images_are_measured_in_float32(images):
    coarse = jnp.asarray(images, jnp.bfloat16)
    expected = laplacian_edges(coarse.astype(jnp.float32))
    np.testing.assert_array_equal(laplacian_edges(coarse), expected)
