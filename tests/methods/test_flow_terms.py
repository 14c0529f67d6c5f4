"""The video stage: what a step makes of pairs of frames."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import streets_video
from sflow_jax import losses
from sflow_jax.methods.flow_terms import flow_terms, pair_warping_error, visible_mask
from sflow_jax.methods.sflow import Scene
from sflow_jax.ops import image_flow as flow_operator
from sflow_jax.ops.optical_flow import farneback
from sflow_jax.ops.warp import consistency_mask
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.step import make_train_step
from tests.class_tables import numbered_classes
from tests.fast_jit import fast_jit
from tests.parity import cases
from tests.random_weights import EDGE_THRESHOLD, random_batch, random_state
from tests.stub_networks import stub_method

NUM_CLASSES = 3
CLASSES = numbered_classes(NUM_CLASSES)
SIZE = (16, 20)
SCHEDULE = Schedule(
    1, laplacian_steps=0, ramp_steps=0, constant_steps=10, decay_steps=20, num_steps=20
)
WEIGHTED = {"generator/flow", "generator/warping"}
MEASURED = {"flow/farneback", "warping_error"}
UNCHANGED = {"augmentation.flip": False, "dned.input": "gray"}  # no random change of the frames

image_flow = fast_jit(flow_operator.image_flow)


def make_config(**changes):
    config = streets_video.get_config("tiny")
    config.loss.perceptual_weight = 0.0
    config.edges.threshold = EDGE_THRESHOLD
    config.edges.quantile = None
    config.update_from_flattened_dict(changes)
    return config


def pairs(batch_size=2, seed=0):
    return random_batch(SIZE, batch_size, NUM_CLASSES, seed, num_frames=2)


def scene_of(batch, **changes):
    config = make_config(**changes)
    keys = jax.random.split(jax.random.key(0), len(batch["image"]))
    return Scene(
        **fast_jit(lambda b, k: vars(stub_method(config, CLASSES, SCHEDULE).scene(b, k)))(
            batch, keys
        )
    )


def test_the_frames_of_a_pair_lie_side_by_side():
    batch = pairs()
    scene = scene_of(batch, **UNCHANGED)
    for example in range(2):
        for t in range(2):
            index = 2 * example + t
            found = 127.5 * (scene.image[index] + 1)
            np.testing.assert_allclose(found, batch["image"][example, t], atol=1e-4)
            labels = scene.label_map[index].argmax(-1)
            np.testing.assert_array_equal(labels, batch["label"][example, t, ..., 0])
    np.testing.assert_array_equal(scene.flow, batch["flow"].astype(np.float32))
    assert scene.flow.dtype == np.float32


@pytest.mark.parametrize(
    "changes", [{"augmentation.flip": True}, {"augmentation.zoom": 0.5}], ids=str
)
def test_both_frames_of_a_pair_change_alike_and_the_flow_with_them(changes):
    batch = pairs(16)
    batch["image"][:, 1] = batch["image"][:, 0]
    batch["label"][:, 1] = batch["label"][:, 0]
    batch["flow"][...] = (3, 1)
    scene = scene_of(batch, **{"augmentation.flip": False, **changes})
    for array in (scene.image, scene.label_map, scene.edge_map, scene.dned_input):
        np.testing.assert_array_equal(array[0::2], array[1::2])
    originals = batch["image"][:, 0] / np.float32(127.5) - 1
    is_changed = np.abs(scene.image[0::2] - originals).max((1, 2, 3)) > 1e-3
    x, y = np.moveaxis(np.asarray(scene.flow), -1, 0)
    if "augmentation.flip" in changes:
        assert 0 < is_changed.sum() < 16
        np.testing.assert_array_equal(x, np.where(is_changed[:, None, None], -3, 3 + 0 * x))
        np.testing.assert_array_equal(y, np.ones_like(y))
    else:
        assert is_changed.all()
        np.testing.assert_allclose(x, 3 * y, rtol=1e-3)
        assert 1 < y.min() < y.max() <= 1.5 + 1e-3


def smooth_scene(seed=0, batch_size=2):
    """Random smooth frames, all alike but for some motion, and the flow between them."""
    random = np.random.RandomState(seed)
    coarse = random.uniform(-0.9, 0.9, (batch_size, 7, 8, 3)).astype(np.float32)
    smooth = np.asarray(jax.image.resize(coarse, (batch_size, 36, 44, 3), "cubic"))
    frames = np.stack([smooth[:, 1:33, 2:42], smooth[:, 2:34, :40]], 1).reshape(-1, 32, 40, 3)
    return pair_scene(frames, image_flow(frames[0::2], frames[1::2]))


def pair_scene(frames, flow):
    return Scene(None, jnp.asarray(frames), None, None, None, None, None, flow)


def fakes(scene, seed=1):
    noise = np.random.RandomState(seed).normal(0, 0.1, scene.image.shape)
    return jnp.clip(scene.image + noise.astype(np.float32), -1, 1)


def compute(fake, scene, **changes):
    """The terms of two pairs and what is logged beside them; compiled once for each config."""
    terms, measures = _compiled(tuple(sorted(changes.items())))(fake, scene.image, scene.flow)
    assert measures.keys() == MEASURED
    return {name: float(value) for name, value in (terms | measures).items()}


@functools.cache
def _compiled(changes):
    config = make_config(**dict(changes))
    return fast_jit(lambda fake, frames, flow: flow_terms(fake, frames, flow, config.flow))


@functools.cache
def terms_of(loss, mask="warp"):
    scene = smooth_scene()
    found = compute(fakes(scene), scene, **{"flow.loss": loss, "flow.mask": mask})
    return {name: value for name, value in found.items() if name in WEIGHTED}


def test_the_terms_are_eq_8_and_the_warp_loss():
    scene = smooth_scene()
    fake = fakes(scene)
    luma = np.array([0.299, 0.587, 0.114], np.float32)
    gray = ((fake + 1) * 127.5 * luma).sum(-1, keepdims=True)
    fake_flow = fast_jit(farneback)(gray[0::2], gray[1::2])
    literal = float(jnp.abs(fake_flow - scene.flow).mean())
    backward = image_flow(scene.image[1::2], scene.image[0::2])
    mask = consistency_mask(scene.flow, backward)
    assert 0.3 < mask.mean() < 0.99
    masked = float(losses.flow(scene.flow, fake_flow, mask))
    warped = float(losses.warping(fake[0::2], fake[1::2], scene.flow, mask))
    warped_everywhere = float(losses.warping(fake[0::2], fake[1::2], scene.flow))

    assert terms_of("none") == {}
    assert terms_of("farneback") == {"generator/flow": pytest.approx(literal, rel=1e-4)}
    assert terms_of("warp") == {"generator/warping": pytest.approx(10 * warped, rel=1e-4)}
    assert terms_of("both", "warp") == terms_of("farneback") | terms_of("warp")
    assert terms_of("both", "both") == {
        "generator/flow": pytest.approx(masked, rel=1e-3),
        "generator/warping": pytest.approx(10 * warped, rel=1e-4),
    }
    assert terms_of("both", "none") == {
        "generator/flow": pytest.approx(literal, rel=1e-4),
        "generator/warping": pytest.approx(10 * warped_everywhere, rel=1e-4),
    }


def test_every_term_has_its_own_weight():
    weights = {"flow.loss": "both", "flow.farneback_weight": 3.0, "flow.warp_weight": 0.5}
    scene = smooth_scene()
    terms = compute(fakes(scene), scene, **weights)
    expected = terms_of("both")
    np.testing.assert_allclose(terms["generator/flow"], 3 * expected["generator/flow"], rtol=1e-5)
    np.testing.assert_allclose(
        terms["generator/warping"], 0.05 * expected["generator/warping"], rtol=1e-5
    )


def test_a_flicker_of_the_generated_frames_is_their_warping_error():
    """The second frames are brighter by 0.2 of [-1, 1], which is 0.1 of [0, 1]."""
    first = np.random.RandomState(0).uniform(-0.5, 0.5, (2, 32, 40, 3)).astype(np.float32)
    fake = np.stack([first, first + 0.2], 1).reshape(4, 32, 40, 3)
    still = jnp.zeros((2, 32, 40, 2))
    visible = jnp.ones((2, 32, 40, 1))
    np.testing.assert_allclose(pair_warping_error(fake, still, visible), 0.1**2, rtol=1e-4)


def test_the_real_frames_have_no_flow_loss():
    scene = smooth_scene()
    terms = compute(scene.image, scene, **{"flow.loss": "both"})
    np.testing.assert_allclose(terms["generator/flow"], 0, atol=1e-5)
    shaken = compute(fakes(scene), scene, **{"flow.loss": "both"})
    assert terms["generator/warping"] < 0.5 * shaken["generator/warping"]


def test_a_pair_does_not_depend_on_what_else_is_in_its_batch():
    changes = {"flow.loss": "both", "flow.mask": "both"}
    scene = smooth_scene()
    fake, mask = fakes(scene), fast_jit(visible_mask)
    visible = mask(scene.image, scene.flow)
    alone = []
    for example in range(2):
        part = slice(2 * example, 2 * example + 2)
        pair = pair_scene(scene.image[part], scene.flow[example : example + 1])
        np.testing.assert_array_equal(mask(pair.image, pair.flow)[0], visible[example])
        alone.append(compute(fake[part], pair, **changes))
    for name, value in compute(fake, scene, **changes).items():
        np.testing.assert_allclose(np.mean([one[name] for one in alone]), value, rtol=1e-5)


@pytest.mark.parametrize("mask", ["none", "warp", "both"])
@pytest.mark.parametrize("loss", ["none", "farneback", "warp", "both"])
def test_eq_8_is_logged_without_weight_and_mask_whatever_the_loss(loss, mask):
    scene = smooth_scene()
    changes = {"flow.loss": loss, "flow.mask": mask, "flow.farneback_weight": 3.0}
    found = compute(fakes(scene), scene, **changes)
    literal = terms_of("farneback")["generator/flow"]
    np.testing.assert_allclose(found["flow/farneback"], literal, rtol=1e-5)


@functools.cache
def take_step(**changes):
    config = make_config(**UNCHANGED, **changes)
    method = stub_method(config, CLASSES, SCHEDULE)
    train_step = fast_jit(make_train_step(method, SCHEDULE, config, axis_name=None))
    batch = pairs()
    if config.data.frames == 1:
        batch = {key: batch[key].reshape(4, 1, *batch[key].shape[2:]) for key in method.batch_keys}
    after, metrics = train_step(random_state(method, config, SCHEDULE), {}, batch)
    gradients = cases.first_gradients(after.optimizer_state, config.optimizer.beta1)
    return gradients, jax.device_get(metrics), after


def test_without_a_flow_loss_pairs_are_images():
    gradients, metrics, after = take_step(**{"flow.loss": "none"})
    expected_gradients, expected, as_images = take_step(**{"data.frames": 1})
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
    assert metrics.keys() - expected.keys() == MEASURED
    assert metrics["warping_error"] > 0.01  # of the fake frames, which do not move like the real
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7),
        gradients,
        expected_gradients,
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), after.params, as_images.params
    )


@pytest.mark.parametrize("loss", ["farneback", "warp"])
def test_the_flow_loss_reaches_the_generator_and_dned(loss):
    gradients, metrics, _ = take_step(**{"flow.loss": loss})
    without, plain, _ = take_step(**{"flow.loss": "none"})
    term = metrics["generator/flow" if loss == "farneback" else "generator/warping"]
    assert term > 0
    np.testing.assert_allclose(
        metrics["generator/total"], plain["generator/total"] + term, rtol=1e-5
    )
    for network in ("generator", "dned"):
        changes = jax.tree.map(lambda a, b: np.abs(a - b).max(), gradients, without)[network]
        assert max(jax.tree.leaves(changes)) > 1e-4
        assert all(np.isfinite(change) for change in jax.tree.leaves(changes))
    assert metrics["dned_share"] == 1  # DNED's edges from the first step
