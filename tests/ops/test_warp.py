import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.ops.warp import color_mask, consistency_mask, stays_inside, warp
from tests.fast_jit import fast_jit

SIZE = (13, 17)


def random_pair(seed=0, motion=5.0, dtype=np.float32):
    """An image and a flow that also leaves it, on multiples of 1/32 pixel but no whole ones."""
    random = np.random.RandomState(seed)
    image = random.standard_normal((2, *SIZE, 3)).astype(dtype)
    flow = np.floor(random.normal(0, motion, (2, *SIZE, 2))) + random.randint(1, 32, 2) / 32
    return image, flow.astype(dtype)


def test_warping_equals_opencv():
    """To rounding: OpenCV rounds positions to 1/32 pixel."""
    image, flow = random_pair()
    assert 0.3 < stays_inside(flow).mean() < 0.8
    x, y = np.meshgrid(*(np.arange(side, dtype=np.float32) for side in SIZE[::-1]))
    for example, found in enumerate(fast_jit(warp)(image, flow)):
        positions = x + flow[example, ..., 0], y + flow[example, ..., 1]
        expected = cv2.remap(
            image[example], *positions, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_whole_pixels_are_copied():
    image, _ = random_pair()
    flow = np.zeros((2, *SIZE, 2), np.float32)
    flow[..., 0], flow[..., 1] = 2, -1
    moved = np.asarray(fast_jit(warp)(image, flow))
    np.testing.assert_array_equal(moved[:, 1:, :-2], image[:, :-1, 2:])
    np.testing.assert_array_equal(moved[:, 0, :-2], image[:, 0, 2:])  # the border is replicated


@pytest.mark.parametrize("dtype", [np.uint8, jnp.bfloat16])
def test_positions_are_exact_for_images_of_few_bits(dtype):
    """bfloat16 has no 257, and the difference of two bytes may be negative."""
    image = np.random.RandomState(0).randint(0, 256, (1, 2, 300, 1))
    flow = np.full((1, 2, 300, 2), (0.5, 0), np.float32)
    found = warp(jnp.asarray(image, dtype), jnp.asarray(flow, jnp.bfloat16))
    expected = (image[:, :, :-1] + image[:, :, 1:]) / 2
    np.testing.assert_array_equal(found[:, :, :-1], expected)


def test_the_border_is_where_it_is_for_flows_of_few_bits():
    flow = jnp.zeros((1, 2, 300, 2), jnp.bfloat16).at[0, 1, 298, 0].set(1.5)
    outside = ~np.asarray(stays_inside(flow))[0, ..., 0]
    assert np.argwhere(outside).tolist() == [[1, 298]]
    seen = np.asarray(consistency_mask(flow, jnp.zeros_like(flow)))[0, ..., 0]
    assert np.argwhere(seen == 0).tolist() == [[1, 298]]


@pytest.mark.parametrize("argument", [0, 1])
def test_gradients_equal_finite_differences(argument):
    with jax.enable_x64(True):
        pair = [jnp.asarray(array) for array in random_pair(dtype=np.float64)]
        weights = jax.random.normal(jax.random.key(0), pair[0].shape, jnp.float64)

        def objective(x):
            arguments = [x if index == argument else pair[index] for index in (0, 1)]
            return (warp(*arguments) * weights).sum()

        gradient = fast_jit(jax.grad(objective))(pair[argument])
        direction = jax.random.normal(jax.random.key(1), gradient.shape, jnp.float64)
        value, step = fast_jit(objective), 1e-6
        difference = value(pair[argument] + step * direction)
        difference -= value(pair[argument] - step * direction)
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
    mask = np.asarray(fast_jit(consistency_mask)(forward, backward))[0, ..., 0]
    hidden = np.zeros((12, 20), bool)
    hidden[4:8, 9:12] = True  # the wall where the card comes to stand
    np.testing.assert_array_equal(mask, ~hidden)


def test_a_common_motion_is_consistent_but_where_it_leaves_the_image():
    forward = np.broadcast_to(np.float32([2, -1]), (1, 9, 11, 2))
    mask = np.asarray(fast_jit(consistency_mask)(forward, -forward))[0, ..., 0]
    assert mask[1:, :-2].all()
    assert not mask[0].any()
    assert not mask[:, -2:].any()


@pytest.mark.parametrize(
    ("forward", "backward", "consistent"),
    [  # |f + b|^2 against 0.01 (|f|^2 + |b|^2) + 0.5
        (0, 0.70, True),  # 0.490 < 0.505
        (0, 0.72, False),  # 0.518 > 0.505
        (10, -8.6, True),  # 1.96 < 2.24
        (10, -8.5, False),  # 2.25 > 2.22
        (8.5, -10, False),
    ],
)
def test_the_tolerance_grows_with_the_motion(forward, backward, consistent):
    flows = np.zeros((2, 1, 16, 16, 2), np.float32)
    flows[0, ..., 0], flows[1, ..., 0] = forward, backward
    mask = fast_jit(consistency_mask)(*flows)
    assert mask[0, 5, 0, 0] == consistent


@pytest.mark.parametrize(
    ("difference", "trusted"),
    [  # the sum of squares against 0.02
        ((0.08, -0.08, 0.08), True),  # 0.0192
        ((0.083, -0.083, 0.083), False),  # 0.0207
        ((0, 0.14, 0), True),  # 0.0196
        ((0, 0, -0.15), False),  # 0.0225
    ],
)
def test_colors_agree_within_a_tolerance(difference, trusted):
    source = np.random.RandomState(0).uniform(-0.8, 0.8, (1, 4, 6, 3)).astype(np.float32)
    image = source + np.float32(difference)
    mask = color_mask(image, source, np.zeros((1, 4, 6, 2), np.float32))
    assert mask.shape == (1, 4, 6, 1)
    assert mask.dtype == jnp.float32
    np.testing.assert_array_equal(mask, float(trusted))


def test_colors_are_compared_with_those_where_the_flow_leads():
    source = np.random.RandomState(0).uniform(-1, 1, (1, 6, 9, 3)).astype(np.float32)
    image = np.roll(source, 2, axis=2)  # shows at x what the source shows at x - 2
    flow = np.broadcast_to(np.float32([-2, 0]), (1, 6, 9, 2))
    mask = np.asarray(fast_jit(color_mask)(image, source, flow))
    assert mask[:, :, 2:].all()
    assert not mask[:, :, :2].any()  # they came in from the other side
    assert not fast_jit(jax.grad(lambda f: color_mask(image, source, f).sum()))(flow).any()
