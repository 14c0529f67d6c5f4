import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.models import layers
from sflow_jax.models.discriminator import MultiScaleDiscriminator, PatchDiscriminator
from sflow_jax.ops.nn import average_pool_3x3
from tests.fast_jit import fast_jit
from tests.random_weights import init_random


def noise(*shape, seed=0):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def test_scales_are_the_same_network_on_halved_pairs():
    module = MultiScaleDiscriminator(num_scales=3, width=4, num_layers=2)
    condition, image = noise(2, 33, 40, 5), noise(2, 33, 40, 3, seed=1)
    params = init_random(module, condition, image)
    found = fast_jit(module.apply)(params, condition, image)
    pair = np.concatenate([condition, image], -1)
    single = fast_jit(PatchDiscriminator(4, 2).apply)
    assert len(found) == 3
    for scale, features in enumerate(found):
        expected = single({"params": params["params"][f"scale_{scale}"]}, pair)
        assert len(features) == 4
        for a, b in zip(features, expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)
        pair = average_pool_3x3(pair)


def test_a_patch_is_70_by_70_pixels(monkeypatch):
    # Instance norm lets every pixel see the whole image through its statistics.
    monkeypatch.setattr(layers, "instance_norm", lambda x: x)
    module = PatchDiscriminator(width=2)
    x = noise(1, 128, 128, 4)
    params = init_random(module, x)

    def score(x):
        return module.apply(params, x)[-1][0, 8, 8, 0]

    gradient = np.abs(fast_jit(jax.grad(score))(x)).sum((0, 3))
    rows, columns = np.nonzero(gradient)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (70, 70)


@pytest.mark.parametrize(
    ("num_layers", "limits"), [(3, (64, 128, 256, 512)), (4, (64, 128, 256, 512, 512))]
)
def test_widths_and_sizes_of_the_features(num_layers, limits):
    module = MultiScaleDiscriminator(num_layers=num_layers)
    condition, image = jnp.zeros((1, 64, 96, 5)), jnp.zeros((1, 64, 96, 3))
    (features,), _ = jax.eval_shape(module.init_with_output, jax.random.key(0), condition, image)
    assert tuple(x.shape[-1] for x in features) == (*limits, 1)
    height, width = 64, 96
    for layer, feature in enumerate(features):
        step = 2 if layer < num_layers else 1
        height, width = height // step + 1, width // step + 1  # kernel 4, padding 2
        assert feature.shape[1:3] == (height, width)


def test_parameter_count_of_the_default():
    """35 classes and an image into 64 channels; kernels of 4x4; no bias where a norm follows."""
    widths = (38, 64, 128, 256, 512, 1)
    expected = sum(16 * a * b for a, b in itertools.pairwise(widths)) + 64 + 1
    condition, image = jnp.zeros((1, 64, 64, 35)), jnp.zeros((1, 64, 64, 3))
    for num_scales in (1, 3):
        module = MultiScaleDiscriminator(num_scales)
        shapes = jax.eval_shape(module.init, jax.random.key(0), condition, image)
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == num_scales * expected


@pytest.mark.parametrize(
    ("width", "expected"), [(16, (16, 32, 64)), (32, (32, 64, 64)), (128, (64, 64, 64))]
)
def test_coarser_scales_are_wider_up_to_a_limit(width, expected):
    module = MultiScaleDiscriminator(3, width, affine=True, widest=64)
    condition, image = jnp.zeros((1, 64, 64, 5)), jnp.zeros((1, 64, 64, 3))
    outputs, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), condition, image)
    assert tuple(features[0].shape[-1] for features in outputs) == expected
    assert [features[0].shape[1] for features in outputs] == [33, 17, 9]


@pytest.mark.parametrize(
    ("condition_channels", "image_channels", "official"), [(36, 3, 5_606_786), (4, 9, 5_553_538)]
)
def test_vid2vids_have_the_official_number_of_parameters(
    condition_channels, image_channels, official
):
    """Counted in the official code: of images under labels and boundaries, and of triples of frames
    with the two flows between them. We drop the biases before norms.
    """
    module = MultiScaleDiscriminator(2, 64, affine=True, widest=64)
    inputs = (jnp.zeros((1, 64, 64, channels)) for channels in (condition_channels, image_channels))
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == official - 2 * (128 + 256 + 512)


def test_bfloat16_keeps_float32_parameters_and_stays_close():
    exact = MultiScaleDiscriminator(num_scales=2, width=4, num_layers=2)
    coarse = exact.clone(dtype=jnp.bfloat16)
    condition, image = noise(1, 32, 32, 5), noise(1, 32, 32, 3, seed=1)
    params = init_random(coarse, condition, image)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    found = fast_jit(coarse.apply)(params, condition, image)
    expected = fast_jit(exact.apply)(params, condition, image)
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a.dtype == jnp.bfloat16
            assert 0 < np.abs(a.astype(jnp.float32) - b).mean() < 0.05 * b.std()
