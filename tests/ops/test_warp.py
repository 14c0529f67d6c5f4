import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.ops.warp import consistency_mask, stays_inside, warp

SIZE = (13, 17)


def random_pair(seed=0, motion=3.0, dtype=np.float32):
    """An image and a flow that also leaves it."""
    random = np.random.RandomState(seed)
    image = random.standard_normal((2, *SIZE, 3)).astype(dtype)
    return image, random.normal(0, motion, (2, *SIZE, 2)).astype(dtype)


def test_warping_equals_opencv():
    image, flow = random_pair()
    x, y = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
    for example, found in enumerate(np.asarray(warp(image, flow))):
        # OpenCV rounds positions to 1/32 pixel; on multiples of that it is exact.
        steps = np.rint(flow[example] * 32) / 32
        expected = cv2.remap(
            image[example],
            (x + steps[..., 0]).astype(np.float32),
            (y + steps[..., 1]).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        found = np.asarray(warp(image[example][None], steps[None].astype(np.float32)))[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_whole_pixels_are_copied():
    image, _ = random_pair()
    flow = np.zeros((2, *SIZE, 2), np.float32)
    flow[..., 0], flow[..., 1] = 2, -1
    moved = np.asarray(warp(image, flow))
    np.testing.assert_array_equal(moved[:, 1:, :-2], image[:, :-1, 2:])
    np.testing.assert_array_equal(moved[:, 0, :-2], image[:, 0, 2:])  # the border is replicated


@pytest.mark.parametrize("argument", [0, 1])
def test_gradients_equal_finite_differences(argument):
    with jax.enable_x64(True):
        pair = [jnp.asarray(array) for array in random_pair(dtype=np.float64)]
        weights = jax.random.normal(jax.random.key(0), pair[0].shape, jnp.float64)

        def objective(x):
            arguments = [x if index == argument else pair[index] for index in (0, 1)]
            return (warp(*arguments) * weights).sum()

        gradient = jax.grad(objective)(pair[argument])
        direction = jax.random.normal(jax.random.key(1), gradient.shape, jnp.float64)
        step = 1e-7
        difference = objective(pair[argument] + step * direction)
        difference -= objective(pair[argument] - step * direction)
        expected = float((gradient * direction).sum())
        np.testing.assert_allclose(difference / (2 * step), expected, rtol=1e-6)


def test_a_point_on_the_last_pixel_is_inside():
    flow = np.zeros((1, 3, 4, 2), np.float32)
    flow[0, 0, 0] = (3, 2)
    flow[0, 1, 1] = (2.01, 0)
    flow[0, 2, 2] = (0, 0.01)
    flow[0, 0, 1] = (-1.01, 0)
    outside = ~np.asarray(stays_inside(flow))[0, ..., 0]
    assert np.argwhere(outside).tolist() == [[0, 1], [1, 1], [2, 2]]


def test_what_an_object_hides_is_inconsistent():
    """A card of 4x4 pixels moves 3 pixels to the right over a wall that stands still."""
    forward = np.zeros((1, 12, 20, 2), np.float32)
    backward = np.zeros((1, 12, 20, 2), np.float32)
    forward[0, 4:8, 5:9, 0] = 3
    backward[0, 4:8, 8:12, 0] = -3
    mask = np.asarray(consistency_mask(forward, backward))[0, ..., 0]
    hidden = np.zeros((12, 20), bool)
    hidden[4:8, 9:12] = True  # the wall where the card comes to stand
    np.testing.assert_array_equal(mask, ~hidden)


def test_a_common_motion_is_consistent_but_where_it_leaves_the_image():
    forward = np.broadcast_to(np.float32([2, -1]), (1, 9, 11, 2))
    mask = np.asarray(consistency_mask(forward, -forward))[0, ..., 0]
    assert mask[1:, :-2].all()
    assert not mask[0].any()
    assert not mask[:, -2:].any()
