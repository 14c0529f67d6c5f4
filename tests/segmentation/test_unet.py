import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from sflow_jax.segmentation.unet import STRIDE, UNet, fold_batch_norm
from tests.random_weights import init_random


@pytest.fixture(scope="module")
def network():
    return UNet()


@pytest.fixture(scope="module")
def variables(network):
    return init_random(network, jnp.zeros((1, 32, 32, 3)))


@pytest.fixture(scope="module")
def images():
    return np.random.RandomState(0).uniform(-1, 1, (2, 64, 80, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def segment(network):
    return jax.jit(network.apply)


def slices_of(network, variables, images):
    return jax.jit(lambda v, x: network.apply(v, x, method="features"))(variables, images)


def convolve(x, params):
    """A zero-padded 3x3 convolution [H, W, C] by SciPy."""
    kernel = np.asarray(params["kernel"])
    outputs = [
        sum(
            scipy.signal.correlate2d(x[:, :, i], kernel[:, :, i, o], mode="same")
            for i in range(x.shape[-1])
        )
        for o in range(kernel.shape[-1])
    ]
    return np.stack(outputs, -1) + np.asarray(params["bias"])


def test_features_are_the_first_relus_of_the_stages(network, variables, images):
    slices = slices_of(network, variables, images)
    encoder = variables["params"]["encoder"]
    x = images[0]
    for stage in (1, 2):
        first = np.maximum(convolve(x, encoder[f"block{stage}_1"]["conv"]), 0)
        assert first.std() > 1e-2
        np.testing.assert_allclose(slices[stage - 1][0], first, atol=1e-4)
        last = np.maximum(convolve(first, encoder[f"block{stage}_2"]["conv"]), 0)
        height, width, channels = last.shape
        x = last.reshape(height // 2, 2, width // 2, 2, channels).max((1, 3))
    assert [s.shape[1:] for s in slices[2:]] == [(16, 20, 64), (8, 10, 96), (4, 5, 96)]


@pytest.mark.parametrize("size", [(64, 80), (50, 37), (20, 16)])
def test_any_size_is_padded_with_its_border_and_cropped(segment, variables, images, size):
    height, width = size
    part = images[:, :height, :width]
    sides = [max(32, -(-side // STRIDE) * STRIDE) for side in size]
    padding = ((0, 0), (0, sides[0] - height), (0, sides[1] - width), (0, 0))
    padded = np.pad(part, padding, mode="edge")
    expected = segment(variables, padded)[:, :height, :width]
    found = segment(variables, part)
    assert found.shape == (2, height, width, 19)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_shifting_the_image_by_the_stride_shifts_the_logits(segment, variables):
    wide = np.random.RandomState(1).uniform(-1, 1, (1, 160, 480, 3)).astype(np.float32)
    logits = segment(variables, wide)
    shifted = segment(variables, wide[:, :, STRIDE:])
    middle = slice(192, 240)  # farther from every border than the receptive field reaches
    rows = slice(72, 88)
    np.testing.assert_allclose(
        shifted[:, rows, middle],
        logits[:, rows, middle.start + STRIDE : middle.stop + STRIDE],
        atol=1e-4,
    )
    assert logits.std() > 1e-2


def test_examples_do_not_influence_each_other(segment, variables, images):
    whole = segment(variables, images)
    np.testing.assert_allclose(segment(variables, images[1:]), whole[1:], atol=1e-5)


def test_bfloat16_features_stay_close_and_logits_are_float32(network, variables, images):
    coarse = UNet(dtype=jnp.bfloat16)
    for a, b in zip(
        slices_of(coarse, variables, images),
        slices_of(network, variables, images),
        strict=True,
    ):
        assert a.dtype == jnp.bfloat16
        assert jnp.abs(a.astype(jnp.float32) - b).mean() < 0.03 * b.std()
    assert jax.eval_shape(coarse.apply, variables, images).dtype == jnp.float32


def test_two_networks_in_float16_stay_below_two_megabytes(variables):
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert 2 * 2 * num_parameters < 1_950_000  # the rest is for the files' headers


def test_folded_batch_norm_equals_the_norm_with_the_same_statistics(segment, images):
    network = UNet(training=True)
    momentum = 0.98
    before = init_random(network, images)
    apply = jax.jit(lambda v: network.apply(v, images, mutable=["batch_stats"]))
    expected, after = apply(before)
    of_batch = jax.tree.map(
        lambda new, old: (new - momentum * old) / (1 - momentum),
        after["batch_stats"],
        before["batch_stats"],
    )
    folded = fold_batch_norm({"params": before["params"], "batch_stats": of_batch})
    assert expected.std() > 1e-2
    np.testing.assert_allclose(segment(folded, images), expected, atol=1e-3)
