"""pix2pix's networks and one optimization step against its official PyTorch code.

The live comparisons run where SFLOW_PIX2PIX names a checkout and PyTorch is installed; the golden
values that they gave are checked always.
"""

import os

import jax
import numpy as np
import pytest

from sflow_jax.models.discriminator import PatchDiscriminator
from sflow_jax.models.pix2pix import UNetGenerator
from sflow_jax.training.step import make_train_step
from tests.double_precision import double_precision, widen
from tests.fast_jit import fast_jit
from tests.parity import cases, pix2pix
from tests.parity.test_pix2pixhd import assert_features_equal, compare

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def reference():
    if not os.environ.get("SFLOW_PIX2PIX"):
        pytest.skip(
            "SFLOW_PIX2PIX does not name a checkout of junyanz/pytorch-CycleGAN-and-pix2pix"
        )
    pytest.importorskip("torch")
    return pix2pix.imported(os.environ["SFLOW_PIX2PIX"])


@pytest.fixture(scope="module")
def golden():
    return cases.load_golden("pix2pix")


@pytest.mark.parametrize("halvings", pix2pix.GENERATORS)
def test_the_generator(reference, halvings):
    module, params, condition = pix2pix.generator(halvings)
    expected = pix2pix.generate(reference, halvings, params, condition)
    assert_features_equal([fast_jit(module.apply)(params, condition)], [expected])


@pytest.mark.parametrize("num_layers", pix2pix.DISCRIMINATORS)
def test_the_discriminator(reference, num_layers):
    module, params, pair = pix2pix.discriminator(num_layers)
    expected = pix2pix.discriminate(reference, num_layers, params, pair)
    assert_features_equal(fast_jit(module.apply)(params, pair), expected)


def test_an_optimization_step_in_float64(reference):
    with double_precision():
        case = pix2pix.step("float64")
        expected = pix2pix.training_step(reference, case)
        state, metrics = run(case, widen(case.state))
    for name, value in expected["losses"].items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-9)
    rate = case.config.optimizer.learning_rate
    for player, (before, gradients, after) in pix2pix.players_of(case, state).items():
        compare(gradients, expected[player]["gradients"], atol=1e-10)
        compare(after, expected[player]["params"], atol=1e-6 * rate)
        pairs = zip(*map(jax.tree.leaves, (after, before)), strict=True)
        assert np.median([np.abs(new - old).max() for new, old in pairs]) > 0.9 * rate


def run(case, state):
    """Our step on a case."""
    train_step = make_train_step(case.method, case.schedule, case.config, axis_name=None)
    return fast_jit(train_step)(state, {}, case.batch)


@pytest.mark.parametrize("halvings", pix2pix.GENERATORS)
def test_golden_generator(golden, halvings):
    module, params, condition = pix2pix.generator(halvings)
    found = cases.summary(fast_jit(module.apply)(params, condition))
    np.testing.assert_allclose(found, golden["generators"][str(halvings)], atol=TOLERANCE)


@pytest.mark.parametrize("num_layers", pix2pix.DISCRIMINATORS)
def test_golden_discriminator(golden, num_layers):
    module, params, pair = pix2pix.discriminator(num_layers)
    found = [cases.summary(feature) for feature in fast_jit(module.apply)(params, pair)]
    np.testing.assert_allclose(found, golden["discriminators"][str(num_layers)], atol=TOLERANCE)


def test_golden_optimization_step(golden):
    case = pix2pix.step()
    expected = golden["step"]
    state, metrics = run(case, case.state)
    for name, value in expected["losses"].items():
        np.testing.assert_allclose(metrics[name], value, rtol=TOLERANCE)
    for player, (_, gradients, _) in pix2pix.players_of(case, state).items():
        # Of the sum of all pixels' gradients, float32 keeps four digits.
        scale = max(abs(value[1]) for value in expected[player].values())
        compare(cases.summaries(gradients), expected[player], atol=1e-3 * scale)


@pytest.mark.parametrize(
    ("halvings", "parameters"), [(8, 54_413_955), (7, 41_828_995), (6, 29_244_035)]
)
def test_the_generator_has_the_official_number_of_parameters(halvings, parameters):
    """Counted in the official code."""
    shapes = jax.eval_shape(
        UNetGenerator(64, halvings).init, jax.random.key(0), np.zeros((1, 256, 256, 3), np.float32)
    )
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameters


def test_the_discriminator_has_the_official_number_of_parameters_and_patches():
    module = PatchDiscriminator(padding=1, affine=True)
    pair = np.zeros((1, 256, 256, 6), np.float32)
    features, params = jax.eval_shape(module.init_with_output, jax.random.key(0), pair)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 2_768_705
    assert features[-1].shape == (1, 30, 30, 1)
