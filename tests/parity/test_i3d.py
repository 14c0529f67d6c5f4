"""I3D and what it sees against pytorch-i3d and TensorFlow.

The live comparison runs where SFLOW_PYTORCH_I3D names a checkout of piergiaj/pytorch-i3d and
PyTorch is installed; the golden values that it gave are checked always.
"""

import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.metrics import fvd
from sflow_jax.pretrained import i3d as our_i3d
from tests.fast_jit import fast_jit
from tests.parity import cases, i3d

TOLERANCE = 1e-4
SEEN = 10 * TOLERANCE  # by so much a mistake has to move a golden value

GOLDEN = cases.load_golden("i3d")


@pytest.fixture(scope="module", autouse=True)
def variables():
    """The random weights, made before a trap can change the network that tells their shapes."""
    return i3d.random_variables()


def compute(module, *inputs):
    """The module's output with the random weights; compiled anew, so that it sees what changed."""
    return fast_jit(lambda *arguments: module.apply(*arguments))(i3d.random_variables(), *inputs)


def compute_head(monkeypatch, mixed_5c):
    """The logits of Mixed_5c; the trunk, which takes its time, is left out."""
    monkeypatch.setattr(our_i3d, "trunk", lambda videos: mixed_5c)
    return our_i3d.I3D().apply(i3d.random_variables(), np.zeros((2, 24, 224, 224, 3), np.float32))


@pytest.fixture(scope="module")
def reference():
    torch = pytest.importorskip("torch")
    if not os.environ.get("SFLOW_PYTORCH_I3D"):
        pytest.skip("SFLOW_PYTORCH_I3D does not name a checkout")
    return i3d.reference_network(os.environ["SFLOW_PYTORCH_I3D"], torch.float32)


@pytest.mark.parametrize("num_frames", [9, 16, 17])
def test_logits_equal_pytorch_i3d(reference, num_frames):
    videos = i3d.full_videos(num_frames)
    expected = i3d.reference_logits(reference, videos)
    assert expected.std() > 1e-2
    np.testing.assert_allclose(compute(our_i3d.I3D(), videos), expected, atol=TOLERANCE)


def test_trunk_equals_pytorch_i3d(reference, trunk):
    expected = i3d.reference_trunk(reference, i3d.videos(*i3d.TRUNK_SHAPE))
    assert expected.std() > 1e-2
    np.testing.assert_allclose(trunk, expected, atol=TOLERANCE)


def test_keys_are_those_of_pytorch_i3d(reference):
    keys = {key for key in reference.state_dict() if not key.endswith("num_batches_tracked")}
    assert set(our_i3d.conversion().keys.values()) == keys


def test_logits_have_their_golden_values():
    found = compute(our_i3d.I3D(), i3d.full_videos(9))
    assert found.std() > 1e-2
    np.testing.assert_allclose(cases.summary(found), GOLDEN["logits"], atol=TOLERANCE)


@pytest.fixture(scope="module")
def trunk(variables):
    return compute(i3d.Trunk(), i3d.videos(*i3d.TRUNK_SHAPE))


def test_trunk_has_its_golden_values(trunk):
    np.testing.assert_allclose(cases.summary(trunk), GOLDEN["trunk"], atol=TOLERANCE)


def test_batch_1_equals_batch_n(trunk):
    assert np.abs(trunk[0] - trunk[1]).max() > 1e-2
    alone = compute(i3d.Trunk(), i3d.videos(*i3d.TRUNK_SHAPE)[1:])
    np.testing.assert_allclose(alone[0], trunk[1], atol=TOLERANCE)


def test_head_has_its_golden_values(monkeypatch):
    found = compute_head(monkeypatch, i3d.mixed_5c())
    np.testing.assert_allclose(cases.summary(found), GOLDEN["head"], atol=TOLERANCE)


def symmetric(window):
    """PyTorch's usual padding."""
    return [(side // 2, side // 2) for side in window]


TRUNK_TRAPS = {
    "convolutions pad both sides alike": (
        "_convolution",
        lambda channels, side=1, stride=1, use_bias=False: nn.Conv(
            channels, (side,) * 3, stride, side // 2, use_bias=use_bias, name="conv3d"
        ),
    ),
    "max pools pad both sides alike": (
        "_max_pool",
        lambda x, window, stride: nn.max_pool(x, window, stride, symmetric(window)),
    ),
    "batch norms have the frameworks' default epsilon": ("_EPSILON", 1e-5),
}


@pytest.mark.parametrize("trap", TRUNK_TRAPS)
def test_golden_trunk_notices(monkeypatch, trap):
    monkeypatch.setattr(our_i3d, *TRUNK_TRAPS[trap])
    found = compute(i3d.Trunk(), i3d.videos(*i3d.TRUNK_SHAPE))
    assert np.abs(np.subtract(cases.summary(found), GOLDEN["trunk"])).max() > SEEN


class PooledFeatures(nn.Module):
    """What I3D gives if it ends before its classifier."""

    @nn.compact
    def __call__(self, x):
        return x


HEAD_TRAPS = {
    "the average pool pads": (
        "_average_pool",
        lambda x: nn.avg_pool(x, (2, 7, 7), (1, 1, 1), "SAME"),
    ),
    "the average pool is over everything": (
        "_average_pool",
        lambda x: x.mean((1, 2, 3), keepdims=True),
    ),
    "pooled features in place of logits": ("_Classifier", PooledFeatures),
}


@pytest.mark.parametrize("trap", HEAD_TRAPS)
def test_golden_head_notices(monkeypatch, trap):
    monkeypatch.setattr(our_i3d, *HEAD_TRAPS[trap])
    found = compute_head(monkeypatch, i3d.mixed_5c())
    assert np.abs(np.subtract(cases.summary(found), GOLDEN["head"])).max() > SEEN


@pytest.mark.parametrize("shape", [(1, 8, 11, 14, 2), (1, 9, 12, 13, 2)])
@pytest.mark.parametrize("stride", [1, 2])
def test_padding_equals_tensorflow(shape, stride):
    tensorflow = pytest.importorskip("tensorflow")
    x, strides = cases.noise(*shape), (stride,) * 3
    kernel = cases.noise(7, 7, 7, 2, 4) / 26
    convolution = our_i3d._convolution(4, 7, stride)
    np.testing.assert_allclose(
        convolution.apply({"params": {"kernel": kernel}}, x),
        tensorflow.nn.conv3d(x, kernel, (1, *strides, 1), "SAME"),
        atol=TOLERANCE,
    )
    for side in (2, 3):
        expected = tensorflow.nn.max_pool3d(x, side, strides, "SAME")
        np.testing.assert_array_equal(our_i3d._max_pool(x, (side,) * 3, strides), expected)


def test_nothing_is_multiplied_in_a_coarser_type():
    """GPU and TPU would do so by default; no CPU shows the difference."""
    clips = jax.ShapeDtypeStruct((1, 9, 64, 64, 3), jnp.uint8)
    embed = jax.jit(lambda weights, x: our_i3d.logits(weights, fvd.prepare_clips(x)))
    lines = embed.lower(i3d.random_variables(), clips).as_text().splitlines()
    products = [line for line in lines if "stablehlo.convolution" in line or "dot_general" in line]
    assert len(products) == 58
    assert all(line.count("HIGHEST") == 2 for line in products)


def test_padding_of_max_pools_never_wins():
    negative = -1 - np.abs(cases.noise(1, 3, 4, 4, 1))
    for window, stride in (((3, 3, 3), (2, 2, 2)), ((1, 3, 3), (1, 2, 2))):
        assert our_i3d._max_pool(negative, window, stride).max() <= -1


def test_eight_frames_are_too_few():
    videos = jax.ShapeDtypeStruct((1, 8, 224, 224, 3), jnp.float32)
    with pytest.raises(InputError, match="found a clip of 8 frames, expected at least 9"):
        jax.eval_shape(our_i3d.logits, i3d.random_variables(), videos)


@pytest.mark.parametrize("name", i3d.CLIP_SHAPES)
def test_input_has_its_golden_values(name):
    found = fvd.prepare_clips(i3d.clips(i3d.CLIP_SHAPES[name]))
    assert found.dtype == jnp.float32
    assert found.shape == (2, 3, 224, 224, 3)
    np.testing.assert_allclose(cases.summary(found), GOLDEN["inputs"][name], atol=TOLERANCE)


@pytest.mark.parametrize("name", i3d.CLIP_SHAPES)
def test_input_equals_tensorflow(name):
    pytest.importorskip("tensorflow")
    clips = i3d.clips(i3d.CLIP_SHAPES[name])
    np.testing.assert_allclose(fvd.prepare_clips(clips), i3d.tensorflow_input(clips), atol=1e-5)


def half_pixel(clips, antialias):
    clips = jnp.asarray(clips, jnp.float32)
    return jax.image.resize(clips, (2, 3, 224, 224, 3), "linear", antialias=antialias) / 127.5 - 1


INPUT_TRAPS = {
    "half-pixel centers": lambda clips: half_pixel(clips, False),
    "antialiasing": lambda clips: half_pixel(clips, True),
    "a range of [0, 1]": lambda clips: (fvd.prepare_clips(clips) + 1) / 2,
    "a range of [0, 255]": lambda clips: (fvd.prepare_clips(clips) + 1) * 127.5,
    "(x - 128) / 128": lambda clips: ((fvd.prepare_clips(clips) + 1) * 127.5 - 128) / 128,
}


@pytest.mark.parametrize("trap", INPUT_TRAPS)
def test_golden_input_notices(trap):
    found = cases.summary(INPUT_TRAPS[trap](i3d.clips(i3d.CLIP_SHAPES["shrunk"])))
    assert np.abs(np.subtract(found, GOLDEN["inputs"]["shrunk"])).max() > SEEN
