import itertools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.data.streets import render_clip
from sflow_jax.ops.optical_flow import farneback

DEFAULTS = {
    "pyr_scale": 0.5, "levels": 3, "winsize": 15, "iterations": 3, "poly_n": 5, "poly_sigma": 1.2,
}  # fmt: skip
OTHER_PARAMETERS = (
    {"levels": 0},
    {"pyr_scale": 0.7, "levels": 5},
    {"pyr_scale": 0.3, "levels": 2},
    {"winsize": 21, "iterations": 5},
    {"winsize": 10, "iterations": 1},  # an even window
    {"poly_n": 7, "poly_sigma": 1.5},
    {"poly_n": 1, "poly_sigma": 0.0},  # the sigma that follows from n
)
SMALL_WINDOWS = ({"winsize": 2}, {"winsize": 3}, {"winsize": 5}, {"winsize": 9, "iterations": 10})


def random_texture(height, width, sigma=2.0, seed=0, dtype=np.uint8):
    """Blurred noise, and the same moved by a few pixels, turned and enlarged a little."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.uniform(0, 255, (height, width)), (0, 0), sigma)
    first = (noise - noise.min()) / np.ptp(noise) * 255
    motion = np.array([[1.01, 0.02, 2.3], [-0.02, 0.99, -1.7]])
    second = cv2.warpAffine(first, motion, (width, height), borderMode=cv2.BORDER_REFLECT)
    return first.astype(dtype), second.astype(dtype)


def opencv_flow(first, second, **parameters):
    return cv2.calcOpticalFlowFarneback(first, second, None, flags=0, **(DEFAULTS | parameters))


def our_flow(first, second, **parameters):
    batch = [np.asarray(image, np.float32)[None, ..., None] for image in (first, second)]
    return np.asarray(farneback(*batch, **parameters))[0]


def assert_equals_opencv(first, second, **parameters):
    expected = opencv_flow(first, second, **parameters)
    errors = np.linalg.norm(our_flow(first, second, **parameters) - expected, axis=-1)
    assert np.abs(expected).mean() > 0.1  # there is motion to find
    assert errors.mean() < 1e-4
    assert errors.max() < 5e-2


@pytest.mark.parametrize("parameters", [{}, *OTHER_PARAMETERS, *SMALL_WINDOWS], ids=str)
def test_random_textures_equal_opencv(parameters):
    assert_equals_opencv(*random_texture(96, 131), **parameters)


@pytest.mark.parametrize("size", [(33, 70), (64, 64), (11, 40), (101, 37)], ids=str)
def test_any_size_equals_opencv(size):
    assert_equals_opencv(*random_texture(*size))


@pytest.mark.parametrize("size", [(1, 9), (2, 2), (5, 7)], ids=str)
def test_tiny_images_equal_opencv(size):
    first, second = (image[: size[0], : size[1]].copy() for image in random_texture(20, 20))
    np.testing.assert_allclose(our_flow(first, second), opencv_flow(first, second), atol=1e-5)


def test_unrelated_noise_equals_opencv():
    first, second = np.random.default_rng(0).integers(0, 256, (2, 97, 120), np.uint8)
    assert_equals_opencv(first, second)


@pytest.mark.parametrize("size", [(64, 128), (128, 256)], ids=str)
def test_streets_equal_opencv(size):
    images = render_clip(3, num_frames=2, height=size[0], width=size[1])["image"]
    assert_equals_opencv(*(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images))


@pytest.mark.parametrize("parameters", [{}, *OTHER_PARAMETERS], ids=str)
def test_real_frames_equal_opencv(parameters, real_data):
    folder = real_data / "cityscapes" / "leftImg8bit_sequence" / "train" / "aachen"
    paths = sorted(folder.glob("*.png"))
    grays = [
        cv2.resize(cv2.imread(str(path), 0), (512, 256), interpolation=cv2.INTER_AREA)
        for path in paths
    ]
    assert len(grays) == 4
    for first, second in itertools.pairwise(grays):
        assert_equals_opencv(first, second, **parameters)


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"pyr_scale": 1.0}, "pyr_scale must be between 0 and 1, not 1.0"),
        ({"levels": -1}, "levels must be at least 0, not -1"),
        ({"winsize": 1}, "winsize must be at least 2, not 1"),
        ({"iterations": 0}, "iterations must be at least 1, not 0"),
        ({"poly_n": 0}, "poly_n must be at least 1, not 0"),
    ],
)
def test_meaningless_parameters_are_refused(parameters, complaint):
    with pytest.raises(ValueError, match=complaint):
        our_flow(*random_texture(40, 40), **parameters)


@pytest.mark.parametrize(
    ("first", "second", "complaint"),
    [
        ((1, 8, 8, 3), (1, 8, 8, 3), r"prev: found float32 \[1, 8, 8, 3\], .*\[B, H, W, 1\]"),
        ((1, 8, 8, 1), (8, 8, 1), r"next: found float32 \[8, 8, 1\]"),
        ((1, 8, 8, 1), (1, 8, 9, 1), r"prev \[1, 8, 8, 1\] and next \[1, 8, 9, 1\]"),
        ((0, 8, 8, 1), (0, 8, 8, 1), "at least one pixel"),
        ((1, 8, 0, 1), (1, 8, 0, 1), "at least one pixel"),
    ],
)
def test_other_than_two_gray_images_are_refused(first, second, complaint):
    with pytest.raises(ValueError, match=complaint):
        farneback(jnp.zeros(first), jnp.zeros(second))


def test_finds_a_known_motion():
    first, second = random_texture(80, 100, sigma=3)
    x, y = np.meshgrid(np.arange(100), np.arange(80))
    exact = np.stack([0.01 * x + 0.02 * y + 2.3, -0.02 * x - 0.01 * y - 1.7], -1)
    errors = np.linalg.norm(our_flow(first, second) - exact, axis=-1)[15:-15, 15:-15]
    assert errors.mean() < 0.1


@pytest.mark.parametrize("value", [0.0, 128.0, 255.0])
def test_constant_images_stand_still_with_finite_gradients(value):
    images = jnp.full((2, 1, 40, 50, 1), value)

    def total(images):
        return jnp.abs(farneback(*images)).sum()

    flow, gradient = jax.value_and_grad(total)(images)
    assert flow < 1e-12
    assert np.isfinite(gradient).all()


def test_a_pair_does_not_depend_on_its_batch():
    pairs = [random_texture(48, 60, seed=seed, dtype=np.float32) for seed in range(3)]
    first, second = (np.stack(images)[..., None] for images in zip(*pairs, strict=True))
    together = farneback(first, second)
    for index in range(3):
        alone = farneback(first[index : index + 1], second[index : index + 1])
        np.testing.assert_allclose(together[index], alone[0], atol=2e-5)


def test_mapped_over_pairs_and_whole_numbers():
    first, second = (
        np.stack(images)[:, None, ..., None]
        for images in zip(*(random_texture(36, 40, seed=seed) for seed in range(2)), strict=True)
    )
    mapped = jax.vmap(farneback)(first, second)[:, 0]
    expected = farneback(first[:, 0].astype(np.float32), second[:, 0].astype(np.float32))
    np.testing.assert_allclose(mapped, expected, atol=2e-5)


@pytest.mark.parametrize(("which", "size"), [(0, (34, 40)), (1, (34, 40)), (1, (66, 70))])
def test_gradients_equal_finite_differences(which, size):
    """At one level, and from a level that is enlarged to the next."""
    with jax.enable_x64(True):
        images = [
            jnp.asarray(image[None, ..., None]) for image in random_texture(*size, dtype=np.float64)
        ]
        weights = jax.random.normal(jax.random.key(0), (1, *size, 2), jnp.float64)

        def objective(image):
            pair = [image if index == which else images[index] for index in (0, 1)]
            return (farneback(*pair, levels=1, winsize=7) * weights).sum()

        gradient = jax.grad(objective)(images[which])
        for seed in range(4):
            direction = jax.random.normal(jax.random.key(seed), gradient.shape, jnp.float64)
            step = 1e-6
            difference = objective(images[which] + step * direction)
            difference -= objective(images[which] - step * direction)
            expected = float((gradient * direction).sum())
            assert abs(expected) > 1e-2
            np.testing.assert_allclose(difference / (2 * step), expected, rtol=1e-5)


def test_descent_on_the_pixels_restores_the_flow():
    first, second = (image[None, ..., None] for image in random_texture(40, 48, dtype=np.float32))
    target = farneback(first, second)
    noise = np.random.default_rng(1).normal(0, 8, second.shape).astype(np.float32)

    @jax.jit
    def descend(image):
        def objective(image):
            return jnp.abs(farneback(first, image) - target).mean()

        value, gradient = jax.value_and_grad(objective)(image)
        return image - 2 * jnp.sign(gradient) * jnp.minimum(1, value), value

    image, values = second + noise, []
    for _ in range(60):
        image, value = descend(image)
        values.append(float(value))
    assert values[-1] < 0.3 * values[0]
