import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.models import layers
from sflow_jax.ops import fast_convolution
from sflow_jax.ops.convolution import convolve, convolve_transposed
from tests.fast_jit import fast_jit

VALID, ONE, TWO = (((side, side), (side, side)) for side in range(3))
CASES = [  # height, width, kernel, stride, padding
    (9, 11, (7, 7), 1, VALID),  # the first and last layer of the generator, already padded
    (7, 9, (3, 3), 1, VALID),  # residual blocks
    (9, 10, (3, 3), 2, VALID),  # Inception's halvings, of both parities
    (7, 9, (3, 3), 2, VALID),
    (8, 10, (3, 3), 2, ONE),  # halvings
    (9, 11, (3, 3), 2, ONE),
    (9, 12, (4, 4), 2, TWO),  # the discriminator's strided layers
    (9, 8, (4, 4), 1, TWO),  # and its last ones
    (6, 5, (3, 3), 1, ONE),  # DNED and VGG19
    (5, 6, (2, 3), 1, ((0, 1), (2, 0))),
]


def integers(*shape, seed=0):
    """Small whole numbers, whose sums and products float32 holds exactly, in any order."""
    values = np.random.RandomState(seed).randint(-3, 4, shape)
    return jnp.asarray(values, jnp.float32)


def plain(x, kernel, stride, padding):
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=dimensions
    )


@pytest.fixture(params=["deep", "small", "large", "gpu"])
def form(request, monkeypatch):
    """On a CPU everything as if it were deep (as it is at these sizes), or small, or large.

    Blocks do not divide the rows.
    """
    if request.param != "deep":
        monkeypatch.setattr(fast_convolution, "_DEEP_PATCHES", 0)
    if request.param == "gpu":
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    if request.param == "large":
        monkeypatch.setattr(fast_convolution, "_LARGE_MULTIPLICATIONS", 0)
        monkeypatch.setattr(fast_convolution, "_LARGE_PIXELS", 0)
        monkeypatch.setattr(fast_convolution, "_BLOCK_PIXELS", 20)


@pytest.mark.parametrize("features", [2, 5], ids=["fewer", "more"])
@pytest.mark.parametrize(("height", "width", "kernel_size", "stride", "padding"), CASES)
def test_convolution_and_gradients_are_the_plain_ones_bit_for_bit(
    form, height, width, kernel_size, stride, padding, features
):
    x, kernel = integers(2, height, width, 3), integers(*kernel_size, 3, features, seed=1)

    @fast_jit
    def compare(x, kernel):
        expected, expected_vjp = jax.vjp(lambda *a: plain(*a, stride, padding), x, kernel)
        found, vjp = jax.vjp(lambda *a: convolve(*a, (stride, stride), padding), x, kernel)
        cotangent = integers(*expected.shape, seed=2)
        return (found, *vjp(cotangent)), (expected, *expected_vjp(cotangent))

    for found, expected in zip(*compare(x, kernel), strict=True):
        assert np.abs(expected).max() > 0
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("case", [CASES[0], CASES[6]])
def test_constant_channels_have_no_gradient(form, case):
    height, width, kernel_size, stride, padding = case
    x, kernel = integers(2, height, width, 5), integers(*kernel_size, 5, 4, seed=1)

    def gradients(x, kernel, num_constant):
        def apply(*arrays):
            return convolve(*arrays, (stride, stride), padding, num_constant=num_constant)

        result, vjp = jax.vjp(apply, x, kernel)
        return vjp(integers(*result.shape, seed=2))

    compare = fast_jit(lambda *arrays: [gradients(*arrays, count) for count in (0, 3)])
    (whole, whole_kernel), (found, found_kernel) = compare(x, kernel)
    np.testing.assert_array_equal(found_kernel, whole_kernel)
    np.testing.assert_array_equal(found[..., 3:], whole[..., 3:])
    assert whole[..., :3].any()
    assert not found[..., :3].any()


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_constant_channels_save_their_gradient(monkeypatch, platform):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    x, kernel = integers(2, 16, 16, 8), integers(3, 3, 8, 4, seed=1)

    def work(num_constant):
        def loss(x, kernel):
            return jnp.square(convolve(x, kernel, (1, 1), ONE, num_constant=num_constant)).sum()

        gradient = fast_jit(jax.grad(loss, argnums=(0, 1)))
        return gradient.lower(x, kernel).compile().cost_analysis()["flops"]

    one_convolution = 2 * 16 * 16 * 2 * 9 * 8 * 4  # as is the gradient of all channels
    saved = work(0) - work(6)
    assert saved > 0.6 * 6 / 8 * one_convolution


@pytest.mark.parametrize("case", [CASES[2], CASES[3], CASES[4]])
def test_transposed_convolution_and_gradients_are_the_plain_ones_bit_for_bit(form, case):
    height, width, kernel_size, stride, padding = case
    kernel = integers(*kernel_size, 3, 5, seed=1)
    image = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
    x = integers(*jax.eval_shape(lambda y: plain(y, kernel, stride, padding), image).shape)

    def transposed(x, kernel):
        transpose = jax.linear_transpose(lambda y: plain(y, kernel, stride, padding), image)
        return transpose(x)[0]

    def ours(x, kernel):
        return convolve_transposed(x, kernel, stride, padding, (height, width))

    @fast_jit
    def compare(x, kernel):
        cotangent = integers(*image.shape, seed=2)
        expected, expected_vjp = jax.vjp(transposed, x, kernel)
        found, vjp = jax.vjp(ours, x, kernel)
        return (found, *vjp(cotangent)), (expected, *expected_vjp(cotangent))

    for found, expected in zip(*compare(x, kernel), strict=True):
        assert np.abs(expected).max() > 0
        np.testing.assert_array_equal(found, expected)


def test_a_large_kernel_gradient_of_bfloat16_is_summed_in_float32(monkeypatch):
    monkeypatch.setattr(fast_convolution, "_LARGE_MULTIPLICATIONS", 0)
    monkeypatch.setattr(fast_convolution, "_LARGE_PIXELS", 0)
    x = jnp.ones((1, 32, 32, 1), jnp.bfloat16)
    found = fast_convolution.kernel_gradient(x, x, (1, 1), 1, VALID)
    assert found.dtype == jnp.bfloat16
    assert found.item() == 32 * 32  # 256 + 1 is 256 in bfloat16


def test_no_kernel_gradient_on_a_gpu_has_a_kernel_larger_than_its_image(monkeypatch):
    """XLA would swap image and kernel where the image is the smaller one: cuDNN is slow then."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    x, cotangent = jnp.zeros((1, 33, 65, 2)), jnp.zeros((1, 34, 66, 3))
    lowered = jax.jit(lambda *a: fast_convolution.kernel_gradient(*a, (4, 4), 1, TWO))
    text = lowered.lower(x, cotangent).as_text()
    assert "optimization_barrier" in text  # or XLA would make the padding part of it again
    (operands,) = re.findall(r"stablehlo.convolution.* : \((.*)\) ->", text)
    assert "37x69" in operands
    assert "34x66" in operands


def test_a_precision_reaches_the_gpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    x = integers(1, 6, 7, 2)
    for side in (1, 3):
        layer = layers.Conv(3, (side, side), precision="highest")
        params = layer.init(jax.random.key(0), x)
        assert "HIGHEST" in str(jax.make_jaxpr(layer.apply)(params, x))


@pytest.mark.parametrize("stride", [1, 2])
def test_named_padding_is_flax_own(stride):
    x = integers(2, 7, 8, 3)
    options = {"strides": stride, "padding": "SAME", "precision": "highest"}
    plain, fast = nn.Conv(4, (3, 3), **options), layers.Conv(4, (3, 3), **options)
    params = plain.init(jax.random.key(0), x)
    np.testing.assert_allclose(fast.apply(params, x), plain.apply(params, x), atol=1e-5)


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 2)])
def test_pointwise_convolutions_are_products_of_matrices(strides):
    x = integers(2, 7, 8, 3)
    plain, fast = (Conv(4, (1, 1), strides=strides) for Conv in (nn.Conv, layers.Conv))
    params = plain.init(jax.random.key(0), x)
    assert "conv_general_dilated" not in str(jax.make_jaxpr(fast.apply)(params, x))

    def with_gradients(layer):
        output, pullback = jax.vjp(layer.apply, params, x)
        return output, *pullback(integers(*output.shape, seed=1))

    close = functools.partial(np.testing.assert_allclose, atol=1e-5)
    jax.tree.map(close, with_gradients(fast), with_gradients(plain))


def test_pointwise_convolutions_of_volumes_too():
    x = integers(1, 3, 4, 5, 2)
    plain, fast = (Conv(3, (1, 1, 1), strides=(1, 2, 1)) for Conv in (nn.Conv, layers.Conv))
    params = plain.init(jax.random.key(0), x)
    np.testing.assert_allclose(fast.apply(params, x), plain.apply(params, x), atol=1e-5)


def test_what_has_no_fast_form_is_left_to_xla(monkeypatch):
    monkeypatch.setattr(fast_convolution, "convolve", None)
    x = integers(1, 6, 7, 2)
    for layer in (
        layers.Conv(2, (3, 3), padding="VALID", kernel_dilation=2),
        layers.Conv(2, (3, 3), padding="VALID", feature_group_count=2),
        layers.Conv(2, (3, 3), padding="VALID", strides=(1, 2)),
    ):
        assert layer.init_with_output(jax.random.key(0), x)[0].ndim == 4
