import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.models.vid2vid import SequentialGenerator
from sflow_jax.ops.warp import warp
from tests.fast_jit import fast_jit
from tests.random_weights import init_random

NETWORK = SequentialGenerator(width=4, num_downsamplings=2, num_blocks=3)
CHANNELS = 3 * 5


def noise(*shape, seed=0):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def frames(*shape):
    """Labels of three frames, five channels each, and the two previous images."""
    return noise(*shape, CHANNELS), np.tanh(noise(*shape, 6, seed=1))


@pytest.fixture(scope="module")
def params():
    return init_random(NETWORK, *frames(1, 16, 16))


@pytest.fixture(scope="module")
def generate():
    return fast_jit(NETWORK.apply)


def test_the_image_is_the_raw_one_where_the_mask_is_1_and_the_moved_one_where_it_is_0(
    generate, params
):
    condition, previous = frames(2, 16, 24)
    found = generate(params, condition, previous)
    moved = warp(previous[..., 3:], found.flow)
    expected = found.mask * found.raw + (1 - found.mask) * moved
    np.testing.assert_allclose(found.image, expected, atol=1e-6)
    assert found.flow.shape == (2, 16, 24, 2)
    assert found.mask.shape == (2, 16, 24, 1)
    assert found.mask.std() > 0.05
    assert found.flow.std() > 1
    for bias, source in ((100.0, found.raw), (-100.0, moved)):
        decided = jax.tree.map(np.copy, params)
        decided["params"]["to_mask"]["Conv_0"]["bias"] += bias
        image = generate(decided, condition, previous).image
        np.testing.assert_allclose(image, source, atol=1e-4)


@pytest.mark.parametrize("size", [(18, 33), (5, 9)])
def test_sizes_that_cannot_be_halved_are_padded_and_cropped(generate, params, size):
    inputs = frames(1, *size)
    sides = [max(8, -(-side // 4) * 4) for side in size]
    padding = [(0, 0), (0, sides[0] - size[0]), (0, sides[1] - size[1]), (0, 0)]
    whole = generate(params, *(np.pad(x, padding, mode="edge") for x in inputs))
    found = generate(params, *inputs)
    for name in ("raw", "flow", "mask"):
        expected = getattr(whole, name)[:, : size[0], : size[1]]
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-4)
    moved = warp(inputs[1][..., 3:], found.flow)  # clamped to the image, not to what was padded
    expected = found.mask * found.raw + (1 - found.mask) * moved
    np.testing.assert_allclose(found.image, expected, atol=1e-6)


def test_examples_do_not_influence_each_other(generate, params):
    inputs = frames(3, 16, 24)
    whole = generate(params, *inputs)
    alone = generate(params, *(x[1:2] for x in inputs))
    for ours, theirs in zip(alone, whole, strict=True):
        np.testing.assert_allclose(ours, theirs[1:2], atol=1e-4)
    assert np.abs(whole.image[1] - whole.image[0]).mean() > 0.1


def test_every_parameter_matters_and_no_gradient_leaves_the_frame(params):
    inputs = frames(1, 16, 24)

    def loss(params, inputs):
        return (NETWORK.apply(params, *inputs).image * noise(1, 16, 24, 3)).sum()

    of_params, of_inputs = fast_jit(jax.grad(loss, argnums=(0, 1)))(params, inputs)
    for path, gradient in jax.tree_util.tree_leaves_with_path(of_params):
        assert np.abs(gradient).max() > 1e-3, jax.tree_util.keystr(path)
    for gradient in of_inputs:
        np.testing.assert_array_equal(gradient, 0)


def test_both_encoders_and_every_frame_are_seen(generate, params):
    inputs = frames(1, 16, 24)
    image = generate(params, *inputs).raw
    for position, step in ((0, 5), (1, 3)):
        for start in range(0, inputs[position].shape[-1], step):
            other = [x.copy() for x in inputs]
            other[position][..., start : start + step] *= -1
            assert np.abs(generate(params, *other).raw - image).mean() > 1e-3


def test_bfloat16_keeps_float32_parameters_and_output_and_stays_close(generate, params):
    coarse = NETWORK.clone(dtype=jnp.bfloat16)
    inputs = frames(1, 16, 24)
    shapes = jax.eval_shape(coarse.init, jax.random.key(0), *inputs)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
    found, expected = fast_jit(coarse.apply)(params, *inputs), generate(params, *inputs)
    assert {x.dtype for x in found} == {jnp.dtype("float32")}
    for name, limit in (("raw", 0.05), ("mask", 0.05), ("flow", 0.5)):
        assert 1e-5 < np.abs(getattr(found, name) - getattr(expected, name)).mean() < limit


def test_remat_computes_the_blocks_again_and_the_same_gradients(params):
    inputs = frames(1, 16, 24)

    def gradient(network):
        return jax.grad(lambda p: (network.apply(p, *inputs).raw * noise(1, 16, 24, 3)).sum())

    again = gradient(NETWORK.clone(remat=True))
    assert "remat" in str(jax.make_jaxpr(again)(params))
    found, expected = fast_jit(again)(params), fast_jit(gradient(NETWORK))(params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected
    )


def dropped_biases(width, num_downsamplings, num_blocks):
    """Of the official code, those that the norm behind them subtracts again."""
    levels = [width * 2**level for level in range(num_downsamplings + 1)]
    encoders, decoders = 2 * sum(levels), 2 * sum(levels[:-1])
    return encoders + decoders + 2 * 2 * num_blocks * levels[-1]


@pytest.mark.parametrize(("num_downsamplings", "official"), [(2, 91_648_518), (3, 365_391_366)])
def test_it_has_the_official_number_of_parameters(num_downsamplings, official):
    """Counted in the official code, for 35 labels, boundaries, and 9 blocks."""
    module = SequentialGenerator(128, num_downsamplings, 9)
    inputs = jnp.zeros((1, 64, 64, 3 * 36)), jnp.zeros((1, 64, 64, 6))
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == official - dropped_biases(128, num_downsamplings, 9)
