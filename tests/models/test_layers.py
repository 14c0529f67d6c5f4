import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.models.layers import ReflectConv, ResizeConv, UpsampleConv
from tests.fast_jit import fast_jit
from tests.random_weights import init_random


def integers(*shape, seed=0):
    """Small whole numbers, whose sums and products float32 holds exactly."""
    return np.random.RandomState(seed).randint(-4, 5, shape).astype(np.float32)


def assert_equal_with_gradients(ours, reference, *inputs):
    """Bit for bit, for the gradients of a cotangent of whole numbers."""

    def with_gradients(function):
        output, pullback = jax.vjp(function, *inputs)
        return output, *pullback(integers(*output.shape, seed=3))

    found = fast_jit(lambda: with_gradients(ours))()
    expected = fast_jit(lambda: with_gradients(reference))()
    for a, b in zip(found, expected, strict=True):
        assert np.abs(b).max() > 0
        np.testing.assert_array_equal(a, b)


def transposed_convolution(x, kernel):
    """Kernel 3, stride 2, padding 1, output padding 1: by definition a convolution's gradient."""

    def convolve(y):
        return jax.lax.conv_general_dilated(
            y,
            kernel.transpose(0, 1, 3, 2),
            window_strides=(2, 2),
            padding=((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    batch, height, width, _ = x.shape
    output = jnp.zeros((batch, 2 * height, 2 * width, kernel.shape[-1]))
    return jax.vjp(convolve, output)[1](x)[0]


@pytest.mark.parametrize("platform", ["cpu", "gpu"])  # each has a form of its own
@pytest.mark.parametrize("size", [(4, 6), (5, 3), (1, 1)])
def test_upsampling_is_the_transposed_convolution_bit_for_bit(monkeypatch, size, platform):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    x, kernel = integers(2, *size, 3), integers(3, 3, 3, 5, seed=1)

    def ours(x, kernel):
        return UpsampleConv(5).apply({"params": {"kernel": kernel}}, x)

    assert_equal_with_gradients(ours, transposed_convolution, x, kernel)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize("size", [(4, 6), (5, 3), (1, 1)])
def test_resize_conv_is_a_convolution_of_the_enlarged_image(monkeypatch, size, platform):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    x, kernel = integers(2, *size, 3), integers(3, 3, 3, 5, seed=1)

    def ours(x, kernel):
        return ResizeConv(5).apply({"params": {"kernel": kernel}}, x)

    def enlarged(x, kernel):
        x = x.repeat(2, 1).repeat(2, 2)
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
        numbers = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=numbers)

    assert_equal_with_gradients(ours, enlarged, x, kernel)


def test_resize_conv_of_a_constant_is_constant_and_a_transposed_convolution_is_not():
    x = jnp.ones((1, 8, 8, 4))
    for layer, is_constant in ((ResizeConv(3), True), (UpsampleConv(3), False)):
        y = layer.apply(init_random(layer, x), x)
        assert (np.ptp(y, (1, 2)).max() < 1e-5) == is_constant


def test_reflect_conv_sees_the_border_mirrored_and_not_repeated():
    x = integers(1, 4, 5, 2)
    conv = ReflectConv(3, 7, use_bias=True)
    params = init_random(conv, x)
    found = conv.apply(params, x)
    assert found.shape == (1, 4, 5, 3)
    layer = params["params"]["Conv_0"]
    rows, columns = (np.abs(np.arange(-3, n + 3)) for n in (4, 5))
    rows, columns = np.where(rows > 3, 6 - rows, rows), np.where(columns > 4, 8 - columns, columns)
    padded = x[:, rows][:, :, columns]
    expected = np.einsum("ijc,ijco->o", padded[0, 1:8, 2:9], layer["kernel"]) + layer["bias"]
    np.testing.assert_allclose(found[0, 1, 2], expected, atol=1e-4)
