"""Networks, losses and training on a clip against NVIDIA/vid2vid.

The live comparisons run where SFLOW_VID2VID names a checkout and PyTorch is installed; the golden
values that they gave are checked always.
"""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sflow_jax.ops import frame_skips
from sflow_jax.ops.warp import color_mask, warp
from tests.double_precision import double_precision, widen
from tests.fast_jit import fast_jit
from tests.parity import cases, vid2vid, vid2vid_losses, vid2vid_reference, vid2vid_training
from tests.parity.pix2pixhd import default_type
from tests.parity.test_pix2pixhd import assert_features_equal, compare

TOLERANCE = 1e-4
# The flow is 20 times what the last layer puts out, and moves an image of noise, in which a pixel
# is about 1 away from the next.
TOLERANCES = {"image": 1e-3, "raw": TOLERANCE, "flow": 1e-3, "mask": TOLERANCE}
GENERATORS = [
    *vid2vid.GENERATORS.values(),
    ((64, 40), {"width": 8, "num_downsamplings": 3, "num_blocks": 4}),
    ((32, 64), {"width": 32, "num_downsamplings": 2, "num_blocks": 6}),
]


@pytest.fixture(scope="module")
def reference():
    if not os.environ.get("SFLOW_VID2VID"):
        pytest.skip("SFLOW_VID2VID does not name a checkout of NVIDIA/vid2vid")
    pytest.importorskip("torch")
    with vid2vid.imported(os.environ["SFLOW_VID2VID"]) as modules:
        yield modules


@pytest.fixture(scope="module")
def golden():
    return cases.load_golden("vid2vid")


@pytest.mark.parametrize(("size", "sizes"), GENERATORS)
def test_generators(reference, size, sizes):
    module, params, *inputs = vid2vid.generator(size, sizes)
    expected = vid2vid.generate(reference, sizes, params, *inputs)
    found = fast_jit(module.apply)(params, *inputs)
    for name, values in expected.items():
        assert np.std(values) > 0.1, name
        np.testing.assert_allclose(
            getattr(found, name), values, atol=TOLERANCES[name], err_msg=name
        )


@pytest.mark.parametrize(("size", "sizes"), GENERATORS[:2])
def test_generators_and_their_gradients_in_float64(reference, size, sizes):
    import torch

    module, params, *inputs = vid2vid.generator(size, sizes)
    inputs = widen(inputs)
    with double_precision(), default_type(torch.float64):
        expected = vid2vid.generate(reference, sizes, params, *inputs)
        expected_gradients = vid2vid.generator_gradients(reference, sizes, params, *inputs)
        module = module.clone(dtype=jnp.float64)

        def loss(params):
            return vid2vid.objective(module.apply(params, *(x[:1] for x in inputs)))

        found = fast_jit(module.apply)(widen(params), *inputs)
        gradients = fast_jit(jax.grad(loss))(widen(params))
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(found, name), values, atol=1e-10, err_msg=name)
    scale = max(np.abs(x).max() for x in jax.tree.leaves(expected_gradients))
    compare(gradients, expected_gradients, atol=1e-10 * scale)


@pytest.mark.parametrize(
    ("channels", "sizes"),
    [
        *vid2vid.DISCRIMINATORS.values(),
        ((36, 3), {"num_scales": 3, "width": 32, "num_layers": 3}),  # meets the limit of 64
    ],
)
def test_discriminators(reference, channels, sizes):
    module, params, *pair = vid2vid.discriminator(channels, sizes)
    expected = vid2vid.discriminate(reference, sizes, params, *pair)
    found = fast_jit(module.apply)(params, *pair)
    assert len(found) == sizes["num_scales"]
    for ours, theirs in zip(found, expected, strict=True):
        assert_features_equal(ours, theirs)


def test_warping(reference):
    """Of flows that also leave the image."""
    image, flow = cases.noise(2, 19, 30, 3), 6 * cases.noise(2, 19, 30, 2, seed=1)
    expected = vid2vid.moved(reference, image, flow)
    np.testing.assert_allclose(fast_jit(warp)(image, flow), expected, atol=TOLERANCE)


def test_confidence(reference):
    image, source, flow = vid2vid.frames_and_flow()
    expected = vid2vid.confidence(reference, image, source, flow)
    assert 0.3 < expected.mean() < 0.9
    np.testing.assert_array_equal(fast_jit(color_mask)(image, source, flow), expected)


def test_losses(reference):
    expected = vid2vid_losses.reference_losses(reference)
    found = vid2vid_losses.our_losses()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


def test_frames_that_temporal_discriminators_see(reference):
    expected = vid2vid.skipped(reference, 25, 3)
    for time, triples in enumerate(expected):
        for scale, triple in enumerate(triples):
            ready = frame_skips.is_ready(time, scale)
            assert (frame_skips.triple(time, scale) if ready else None) == triple


def test_training_on_a_clip_in_float64(reference):
    """Rounding grows about tenfold per frame: made frames are fed back, and all networks learn."""
    case, found = vid2vid_training.case(), vid2vid_training.our_training()
    expected = vid2vid_reference.training(reference)
    rate, before = case.config.optimizer.learning_rate, case.params
    learned = {0: {"generator", "discriminator_image"}}  # for the first time, by number of frame
    learned |= {2: {"discriminator_temporal_0"}, 6: {"discriminator_temporal_1"}}
    have_learned = set()
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        growth = 10.0**number
        assert_losses_equal(ours.losses, theirs.losses, rtol=1e-13 * growth)
        assert ours.gradients.keys() == theirs.gradients.keys() == learned.get(number, set())
        have_learned |= theirs.gradients.keys()
        for player, gradients in theirs.gradients.items():
            largest = max(np.abs(x).max() for x in jax.tree.leaves(gradients))
            compare(ours.gradients[player], gradients, atol=1e-12 * growth * largest)
        for player, params in theirs.params.items():
            compare(ours.params[player], params, atol=1e-10 * growth * rate)
            pairs = zip(*map(jax.tree.leaves, (params, before[player])), strict=True)
            moved = np.median([np.abs(new - old).max() for new, old in pairs])
            assert moved > 0.9 * rate if player in have_learned else moved == 0, player


def assert_losses_equal(found, expected, rtol):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=rtol, err_msg=name)


@pytest.mark.parametrize("name", vid2vid.GENERATORS)
def test_golden_generators(golden, name):
    size, sizes = vid2vid.GENERATORS[name]
    module, params, *inputs = vid2vid.generator(size, sizes)
    found = fast_jit(module.apply)(params, *inputs)
    for output, expected in golden["generators"][name].items():
        values = cases.summary(getattr(found, output))
        np.testing.assert_allclose(values, expected, atol=TOLERANCES[output], err_msg=output)


@pytest.mark.parametrize("name", vid2vid.DISCRIMINATORS)
def test_golden_discriminators(golden, name):
    module, params, *pair = vid2vid.discriminator(*vid2vid.DISCRIMINATORS[name])
    found = fast_jit(module.apply)(params, *pair)
    for ours, theirs in zip(found, golden["discriminators"][name], strict=True):
        np.testing.assert_allclose([cases.summary(x) for x in ours], theirs, atol=TOLERANCE)


def test_golden_confidence(golden):
    found = fast_jit(color_mask)(*vid2vid.frames_and_flow())
    np.testing.assert_allclose(cases.summary(found), golden["confidence"], atol=TOLERANCE)


def test_golden_losses(golden):
    found = vid2vid_losses.our_losses()
    assert found.keys() == golden["losses"].keys()
    for name, value in golden["losses"].items():
        np.testing.assert_allclose(found[name], value, rtol=TOLERANCE, err_msg=name)


def test_golden_training_on_a_clip(golden):
    """In float64: what rounding makes of a gradient of almost 0 would grow from frame to frame."""
    outcomes, expected = vid2vid_training.our_training(), golden["training"]
    for ours, theirs in zip(outcomes, expected["losses"], strict=True):
        assert_losses_equal(ours.losses, theirs, rtol=1e-6)
    found = vid2vid_training.recorded(outcomes)
    for kind, atol in (("gradients", 1e-6), ("updates", 1e-4)):
        assert found[kind].keys() == expected[kind].keys()
        for player, summaries in expected[kind].items():
            compare(found[kind][player], summaries, atol=atol)
