"""Networks, losses and one optimization step against NVIDIA/pix2pixHD.

The live comparisons run where SFLOW_PIX2PIXHD names a checkout and PyTorch is installed; the golden
values that they gave are checked always.
"""

import os
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from configs.baselines import pix2pixhd as pix2pixhd_config
from sflow_jax import losses
from sflow_jax.import_pix2pixhd import import_run
from sflow_jax.inference import restore_model
from sflow_jax.ops.instances import instance_boundaries
from sflow_jax.pretrained.pix2pixhd import read_encoder
from sflow_jax.training.step import make_train_step
from tests.double_precision import double_precision, widen
from tests.fast_jit import fast_jit
from tests.parity import cases, pix2pixhd

TOLERANCE = 1e-4
LOSSES = {  # ours, theirs, and the factor that train.py applies after reporting the latter
    "generator/adversarial": ("G_GAN", 1.0),
    "generator/feature_matching": ("G_GAN_Feat", 1.0),
    "discriminator/real": ("D_real", 0.5),
    "discriminator/fake": ("D_fake", 0.5),
}


@pytest.fixture(scope="module")
def reference():
    if not os.environ.get("SFLOW_PIX2PIXHD"):
        pytest.skip("SFLOW_PIX2PIXHD does not name a checkout of NVIDIA/pix2pixHD")
    pytest.importorskip("torch")
    with pix2pixhd.imported(os.environ["SFLOW_PIX2PIXHD"]) as modules:
        yield modules


@pytest.fixture(scope="module")
def golden():
    return cases.load_golden("pix2pixhd")


def assert_features_equal(found, expected):
    """Equal to 1e-4, and alive: a network that gives a constant would agree with anything."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert np.std(theirs) > 1e-2
        np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("kind", "size", "sizes"),
    [
        ("global", (24, 32), cases.GENERATORS["global"]),
        ("global", (64, 40), {"width": 8, "num_downsamplings": 3, "num_blocks": 3}),
        ("global", (32, 32), {"width": 64, "num_downsamplings": 3, "num_blocks": 9}),
        ("local", (24, 32), cases.GENERATORS["local"]),
        (
            "local",
            (32, 64),
            {"width": 8, "num_downsamplings": 3, "num_blocks": 2, "num_local_blocks": 3},
        ),
    ],
)
def test_generators(reference, kind, size, sizes):
    module, params, *maps = cases.generator(kind, size, sizes)
    expected = pix2pixhd.generate(reference, kind, sizes, params, *maps)
    assert_features_equal([fast_jit(module.apply)(params, *maps)], [expected])


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((48, 40), cases.DISCRIMINATORS["one scale"]),
        ((48, 40), cases.DISCRIMINATORS["three scales"]),
        ((37, 53), {"num_scales": 3, "width": 8, "num_layers": 3}),
        ((64, 64), {"num_scales": 1, "width": 64, "num_layers": 3}),
        ((64, 64), {"num_scales": 1, "width": 64, "num_layers": 4}),  # meets the limit of 512
    ],
)
def test_discriminator_features(reference, size, sizes):
    module, params, condition, image = cases.discriminator(size, sizes)
    expected = pix2pixhd.discriminate(reference, sizes, params, condition, image)
    found = fast_jit(module.apply)(params, condition, image)
    assert len(found) == sizes["num_scales"]
    for ours, theirs in zip(found, expected, strict=True):
        assert_features_equal(ours, theirs)


@pytest.mark.parametrize("form", ["lsgan", "bce"])
@pytest.mark.parametrize("is_real", [True, False])
def test_adversarial_losses(reference, form, is_real):
    scores = [cases.noise(2, 5, 7, 1, seed=seed) for seed in range(3)]
    criterion = reference.networks.GANLoss(use_lsgan=form == "lsgan")
    tensors = [[pix2pixhd.nchw(x)] for x in scores]
    if form == "bce":
        tensors = [[x.sigmoid()] for (x,) in tensors]  # the last layer of its discriminator
    expected = criterion(tensors, is_real).item()
    outputs = [[x] for x in scores]
    found = losses.adversarial_discriminator(outputs, outputs, form)[0 if is_real else 1]
    np.testing.assert_allclose(2 * found, expected, rtol=1e-5)
    if is_real:
        np.testing.assert_allclose(losses.adversarial_generator(outputs, form), expected, rtol=1e-5)


def test_boundaries_of_instances(reference):
    instance = np.random.RandomState(0).randint(0, 3, (2, 9, 14, 1)).repeat(3, 1).repeat(2, 2)
    model = reference.model.Pix2PixHDModel()
    model.opt = types.SimpleNamespace(data_type=32)
    expected = pix2pixhd.nhwc(model.get_edges(pix2pixhd.nchw(instance)))
    np.testing.assert_array_equal(instance_boundaries(instance), expected)
    assert 0.1 < expected.mean() < 0.9


def test_features_of_instances(reference):
    module, params, image, instance = cases.encoder()
    expected = pix2pixhd.encode(reference, params, image, instance)
    assert_features_equal([fast_jit(module.apply)(params, image, instance)], [expected])


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("GlobalGenerator", (8, 4, 9)),
        ("GlobalGenerator", (16, 3, 2)),
        ("LocalEnhancer", (4, 4, 9, 1, 3)),
        ("LocalEnhancer", (8, 2, 1, 1, 2)),
    ],
)
def test_an_official_checkpoint_of_a_generator_draws_its_picture(reference, tmp_path, kind, sizes):
    """What the reference saves, imported as a run; the one-hot labels and boundaries are ours."""
    norm = reference.networks.get_norm_layer("instance")
    network = official_network(getattr(reference.networks, kind)(36, 3, *sizes, norm))
    path = saved(network, tmp_path / "latest_net_G.pth")
    import_run(pix2pixhd_config.get_config(), tmp_path / "run", path)
    model = restore_model(tmp_path / "run")
    label = np.random.RandomState(0).randint(0, 35, (1, 8, 12, 1)).astype(np.uint8)
    # On fewer pixels than these the norms of the lowest resolution amplify rounding to 1e-4.
    label = label.repeat(16, 1).repeat(16, 2)
    instance = label.astype(np.uint16) * 1000 + np.arange(192, dtype=np.uint16)[:, None] // 10
    found = model.translate(label, np.zeros((1, 128, 192, 3), np.uint8), instance=instance)
    label_map = np.eye(35, dtype=np.float32)[label[..., 0]]
    condition = np.concatenate([label_map, found["boundaries"]], -1)
    expected = pix2pixhd.nhwc(network(pix2pixhd.nchw(condition)))
    assert_features_equal([found["image"]], [expected])


@pytest.mark.parametrize("last", [29, 28])
def test_an_official_checkpoint_of_an_encoder_gives_its_features(reference, tmp_path, last):
    norm = reference.networks.get_norm_layer("instance")
    network = official_network(reference.networks.Encoder(3, 3, 16, 4, norm))
    state = network.state_dict()
    for leaf in ("weight", "bias"):
        state[f"model.{last}.{leaf}"] = state.pop(f"model.29.{leaf}")
    encoder = read_encoder(saved(state, tmp_path / "latest_net_E.pth"))
    _, _, image, instance = cases.encoder()
    expected = network(pix2pixhd.nchw(image), pix2pixhd.nchw(instance.astype(np.float64)))
    found = fast_jit(encoder.module.apply)(encoder.params, image, instance)
    assert_features_equal([found], [pix2pixhd.nhwc(expected)])


def official_network(network):
    """A network of the reference with kernels that let signals through, and biases of 0.5.

    Its own kernels, of deviation 0.02, would leave narrow networks' pictures gray.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in network.parameters():
            if tensor.ndim == 4:
                scale = (2 / tensor[0].numel()) ** 0.5
                tensor.copy_(scale * torch.randn(tensor.shape, generator=generator))
            else:
                tensor.fill_(0.5)
    return network


def saved(network, path):
    """The file that the reference's `save_network` writes."""
    import torch

    torch.save(network if isinstance(network, dict) else network.state_dict(), path)
    return path


@pytest.mark.parametrize("name", cases.STEPS)
def test_optimization_step_in_float64(reference, name):
    """In float64 rounding hides nothing, not even where Adam divides by a gradient of almost 0."""
    with double_precision():
        step = cases.step(*cases.STEPS[name], compute_dtype="float64")
        expected = pix2pixhd.training_step(reference, step)
        state, metrics = run(step, widen(step.state))
    for ours, (theirs, factor) in LOSSES.items():
        np.testing.assert_allclose(metrics[ours], factor * expected["losses"][theirs], rtol=1e-9)
    rate = step.config.optimizer.learning_rate
    for player, (before, gradients, after) in players(step, state).items():
        compare(gradients, expected[player]["gradients"], atol=1e-10)
        compare(after, expected[player]["params"], atol=1e-6 * rate)
        pairs = zip(*map(jax.tree.leaves, (after, before)), strict=True)
        moved = [np.abs(new - old).max() for new, old in pairs]
        assert np.median(moved) > 0.9 * rate


def run(step, state):
    """Our step on a case."""
    train_step = make_train_step(step.method, step.schedule, step.config, axis_name=None)
    return fast_jit(train_step)(state, {}, step.batch)


def players(step, state):
    """For both players the parameters before, the gradients, and the parameters after the step."""
    beta1 = step.config.optimizer.beta1
    gradients = cases.first_gradients(state.optimizer_state, beta1)["generator"]
    discriminator_gradients = cases.first_gradients(state.discriminator_optimizer_state, beta1)
    before, after = step.state, state
    return {
        "generator": (before.params["generator"], gradients, after.params["generator"]),
        "discriminator": (
            before.discriminator_params,
            discriminator_gradients,
            after.discriminator_params,
        ),
    }


def compare(found, expected, atol):
    found, expected = (traverse_util.flatten_dict(tree, sep="/") for tree in (found, expected))
    assert found.keys() == expected.keys()
    for path, values in expected.items():
        np.testing.assert_allclose(found[path], values, atol=atol, rtol=0, err_msg=path)


@pytest.mark.parametrize("kind", cases.GENERATORS)
def test_golden_generators(golden, kind):
    module, params, *maps = cases.generator(kind, (24, 32), cases.GENERATORS[kind])
    found = cases.summary(fast_jit(module.apply)(params, *maps))
    np.testing.assert_allclose(found, golden["generators"][kind], atol=TOLERANCE)


def test_golden_features_of_instances(golden):
    module, params, image, instance = cases.encoder()
    found = cases.summary(fast_jit(module.apply)(params, image, instance))
    np.testing.assert_allclose(found, golden["encoder"], atol=TOLERANCE)


@pytest.mark.parametrize("name", cases.DISCRIMINATORS)
def test_golden_discriminator_features(golden, name):
    module, params, *pair = cases.discriminator((48, 40), cases.DISCRIMINATORS[name])
    found = fast_jit(module.apply)(params, *pair)
    expected = golden["discriminators"][name]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose([cases.summary(x) for x in ours], theirs, atol=TOLERANCE)


@pytest.mark.parametrize("name", cases.STEPS)
def test_golden_optimization_step(golden, name):
    step = cases.step(*cases.STEPS[name])
    expected = golden["steps"][name]
    state, metrics = run(step, step.state)
    for ours, (theirs, factor) in LOSSES.items():
        np.testing.assert_allclose(
            metrics[ours], factor * expected["losses"][theirs], rtol=TOLERANCE
        )
    rate = step.config.optimizer.learning_rate
    for player, (before, gradients, after) in players(step, state).items():
        compare(cases.summaries(gradients), expected[player]["gradients"], atol=TOLERANCE)
        updates = cases.summaries(cases.relative_updates(before, after, rate))
        # A float32 parameter near 1 resolves its update of 2e-4 to 3e-4 of it.
        compare(updates, expected[player]["updates"], atol=1e-3)


def test_feature_matching_weightings_agree_for_the_default_discriminator():
    _, params, condition, image = cases.discriminator((32, 32), cases.DISCRIMINATORS["one scale"])
    module = cases.MultiScaleDiscriminator(**cases.DISCRIMINATORS["one scale"])
    outputs = [fast_jit(module.apply)(params, condition, x) for x in (image, -image)]
    values = [losses.feature_matching(*outputs, weighting) for weighting in ("paper", "pix2pixhd")]
    np.testing.assert_allclose(*values, rtol=1e-6)
    assert values[0] > jnp.float32(0.1)
