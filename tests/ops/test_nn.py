import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.ops.nn import (
    average_pool_3x3,
    instance_norm,
    max_pool_2x2,
    pad_to_multiple,
    reflect_pad,
    relu,
)


def integers(*shape, seed=0):
    """Small whole numbers, whose sums and products float32 holds exactly."""
    return np.random.RandomState(seed).randint(-4, 5, shape).astype(np.float32)


def test_instance_norm_is_per_example_and_channel_with_the_biased_variance():
    random = np.random.RandomState(0)
    x = (random.standard_normal((2, 5, 3, 4)) * [1, 10, 0.1, 0] + [0, 5, 100, 7]).astype(np.float32)
    values = x.astype(np.float64)
    mean = values.mean((1, 2), keepdims=True)
    variance = ((values - mean) ** 2).sum((1, 2), keepdims=True) / 15
    expected = (values - mean) / np.sqrt(variance + 1e-5)
    found = instance_norm(x)
    # Where the mean is 1000 deviations away, float32 inputs resolve 1e-4 of a deviation.
    np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_array_equal(found[..., 3], 0)  # a flat channel


def test_instance_norm_is_exact_with_an_outlier_anywhere():
    random = np.random.RandomState(0)
    x = random.standard_normal((1, 32, 48, 4))
    for channel, place in enumerate([(0, 0), (16, 24), (4, 6), (31, 47)]):
        x[0, *place, channel] = 100
    expected = (x - x.mean((1, 2))) / np.sqrt(x.var((1, 2)) + 1e-5)
    np.testing.assert_allclose(instance_norm(x.astype(np.float32)), expected, rtol=1e-5, atol=1e-5)


def test_instance_norm_has_float32_statistics_in_bfloat16():
    x = (np.random.RandomState(0).standard_normal((1, 64, 64, 1)) + 100).astype(np.float32)
    x = jnp.asarray(x, jnp.bfloat16)
    found = instance_norm(x)
    assert found.dtype == jnp.bfloat16
    expected = instance_norm(x.astype(jnp.float32))
    np.testing.assert_allclose(found.astype(jnp.float32), expected, atol=0.02)


def test_instance_norm_has_the_gradient_of_the_definition():
    means = jnp.array([0.0, 5, 100, 7])
    x = jnp.asarray(np.random.RandomState(0).standard_normal((2, 5, 3, 4))) + means
    cotangent = jnp.asarray(np.random.RandomState(1).standard_normal(x.shape))

    def definition(x):
        return (x - x.mean((1, 2), keepdims=True)) / jnp.sqrt(x.var((1, 2), keepdims=True) + 1e-5)

    found, expected = (jax.vjp(f, x)[1](cotangent)[0] for f in (instance_norm, definition))
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_relu_is_jax_own_with_its_gradient():
    x = jnp.array([-2.0, -0.0, 0.0, 1e-30, 3.0])
    cotangent = jnp.arange(1.0, 6)
    for found, expected in zip(*(jax.vjp(f, x) for f in (relu, nn.relu)), strict=True):
        found, expected = (y(cotangent)[0] if callable(y) else y for y in (found, expected))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 3)])
def test_max_pool_is_flax_own_with_its_gradient_among_equals(size):
    x = integers(2, *size, 3) // 3  # many equal pixels
    found, pullback = jax.vjp(max_pool_2x2, x)
    expected, expected_pullback = jax.vjp(lambda x: nn.max_pool(x, (2, 2), (2, 2)), x)
    np.testing.assert_array_equal(found, expected)
    cotangent = integers(*expected.shape, seed=1)
    np.testing.assert_array_equal(pullback(cotangent)[0], expected_pullback(cotangent)[0])


def test_max_pool_hides_nothing_that_is_not_a_number():
    x = np.zeros((4, 2, 2, 1), np.float32)
    x[np.arange(4), [0, 0, 1, 1], [0, 1, 0, 1]] = np.nan
    assert np.isnan(max_pool_2x2(x)).all()


@pytest.mark.parametrize("size", [(6, 8), (5, 7)])
def test_average_pool_does_not_count_the_padding(size):
    x = np.random.RandomState(0).standard_normal((2, *size, 3)).astype(np.float32)
    height, width = (-(-side // 2) for side in size)
    expected = np.empty((2, height, width, 3), np.float32)
    for i in range(height):
        for j in range(width):
            window = x[:, max(0, 2 * i - 1) : 2 * i + 2, max(0, 2 * j - 1) : 2 * j + 2]
            expected[:, i, j] = window.mean((1, 2))
    np.testing.assert_allclose(average_pool_3x3(x), expected, atol=1e-6)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])  # each has a form of its own
def test_reflection_does_not_repeat_the_border(monkeypatch, platform):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    x = integers(2, 4, 5, 3)
    expected = np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(reflect_pad(x, 3), expected)


def test_multiples_are_not_padded():
    x = integers(2, 16, 32, 3)
    assert pad_to_multiple(x, 8) is x  # a border of no pixels has a gradient, and that a cost


@pytest.mark.parametrize(
    ("size", "multiple", "expected"),
    [
        ((16, 32), 8, (16, 32)),
        ((17, 33), 8, (24, 40)),
        ((100, 60), 8, (104, 64)),
        ((3, 8), 8, (16, 16)),  # one multiple would leave one pixel, which cannot be reflected
    ],
)
def test_padding_repeats_the_last_row_and_column(size, multiple, expected):
    x = integers(2, *size, 3)
    found = pad_to_multiple(x, multiple)
    height, width = size
    assert found.shape == (2, *expected, 3)
    np.testing.assert_array_equal(found[:, :height, :width], x)
    for row in range(height, expected[0]):
        np.testing.assert_array_equal(found[:, row], found[:, height - 1])
    for column in range(width, expected[1]):
        np.testing.assert_array_equal(found[:, :, column], found[:, :, width - 1])
