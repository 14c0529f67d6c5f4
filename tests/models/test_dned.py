import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.models.dned import DNED, NUM_SIDE_OUTPUTS, combine, sample_ensemble_weights
from tests.fast_jit import fast_jit
from tests.random_weights import init_random


def noise(*shape, seed=0):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="module")
def side_outputs():
    return [noise(2, 5, 7, 1, seed=i) for i in range(NUM_SIDE_OUTPUTS)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_equal_weights_give_the_mean_of_the_probabilities(side_outputs):
    expected = np.mean([sigmoid(x) for x in side_outputs], 0)
    np.testing.assert_allclose(combine(side_outputs), expected, atol=1e-6)
    np.testing.assert_allclose(combine(side_outputs, 7 * jnp.ones(6)), expected, atol=1e-6)


@pytest.mark.parametrize("index", range(NUM_SIDE_OUTPUTS))
def test_all_weight_on_one_side_gives_that_side(side_outputs, index):
    weights = 3.0 * jnp.eye(NUM_SIDE_OUTPUTS)[index]
    found = combine(side_outputs, weights)
    np.testing.assert_allclose(found, sigmoid(side_outputs[index]), atol=1e-6)


def test_weights_may_differ_over_the_batch(side_outputs):
    weights = np.array([[1, 2, 3, 4, 5, 5], [0, 0, 1, 0, 0, 1]], np.float32)
    found = combine(side_outputs, weights)
    assert found.shape == (2, 5, 7, 1)
    for example in range(2):
        one = [x[example : example + 1] for x in side_outputs]
        expected = combine(one, weights[example])
        np.testing.assert_allclose(found[example : example + 1], expected, atol=1e-6)
        share = weights[example] / weights[example].sum()
        by_hand = sum(a * sigmoid(x) for a, x in zip(share, one, strict=True))
        np.testing.assert_allclose(expected, by_hand, atol=1e-6)


@fast_jit
def draw(keys, concentration):
    return jax.vmap(lambda key: sample_ensemble_weights(key, concentration))(keys)


def test_ensemble_weights_follow_the_dirichlet_distribution():
    keys = jax.random.split(jax.random.key(0), 4000)
    weights = draw(keys, 1.0)
    assert weights.shape == (4000, 6)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(weights.mean(0), 1 / 6, atol=0.01)
    # A symmetric Dirichlet of concentration c over n has variance (n - 1) / (n^2 (n c + 1)).
    np.testing.assert_allclose(weights.var(0), 5 / (36 * 7), rtol=0.1)
    narrow = draw(keys, 10.0)
    np.testing.assert_allclose(narrow.var(0), 5 / (36 * 61), rtol=0.1)


def test_ensemble_weights_repeat_by_key():
    keys = [jax.random.split(jax.random.key(seed), 4000) for seed in (1, 1, 2)]
    draws = [draw(key, 1.0) for key in keys]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.abs(draws[0] - draws[2]).max(-1).min() > 1e-4


def test_the_fusion_starts_as_the_mean_of_the_sides():
    initialize = fast_jit(lambda key: DNED(2).init(key, noise(1, 16, 16, 1))["params"]["fuse"])
    fuse = initialize(jax.random.key(0))
    np.testing.assert_array_equal(fuse["kernel"], np.full((1, 1, 5, 1), 0.2, np.float32))
    np.testing.assert_array_equal(fuse["bias"], 0)


def test_sides_get_coarser():
    """Side k is drawn on a grid of 2^(k-1) pixels: a shift by less moves it little."""
    network = DNED(width=4)
    x = noise(1, 64, 64, 1)
    sides = fast_jit(network.apply)(init_random(network, x), x)[:5]
    roughness = [float(np.abs(np.diff(s, axis=1)).mean() / np.std(s)) for s in sides]
    assert roughness == sorted(roughness, reverse=True)
    assert roughness[4] < 0.25 * roughness[0]


def test_bfloat16_keeps_float32_parameters_and_logits_and_stays_close():
    coarse, x = DNED(width=4, dtype=jnp.bfloat16), noise(1, 32, 48, 1)
    params = init_random(coarse, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    found = fast_jit(coarse.apply)(params, x)
    expected = fast_jit(DNED(width=4).apply)(params, x)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == jnp.float32
        assert 0 < np.abs(a - b).mean() < 0.05 * np.std(b)


def test_parameter_count_at_the_width_of_hed():
    """VGG16's thirteen convolutions on one channel, five sides and their fusion."""
    widths = [1, *[64] * 2, *[128] * 2, *[256] * 3, *[512] * 6]
    vgg = sum(9 * a * b + b for a, b in itertools.pairwise(widths))
    sides = 64 + 128 + 256 + 512 + 512 + 5
    shapes = jax.eval_shape(DNED().init, jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == vgg + sides + 6 == 14_715_019
