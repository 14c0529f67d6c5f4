"""The video stage: what a step makes of pairs of frames."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import streets_video
from sflow_jax import losses
from sflow_jax.ops.optical_flow import farneback
from sflow_jax.ops.warp import consistency_mask
from sflow_jax.training.scene import Scene, batch_keys, prepare_scene
from sflow_jax.training.schedule import Schedule
from sflow_jax.training.step import make_train_step
from sflow_jax.training.video import flow_terms, image_flow, visible_mask, warping_error
from tests.fast_jit import fast_jit
from tests.parity import cases
from tests.random_weights import EDGE_THRESHOLD, random_batch, random_state
from tests.stub_networks import stub_networks

NUM_CLASSES = 3
SIZE = (16, 20)
SCHEDULE = Schedule(
    1, laplacian_steps=0, ramp_steps=0, constant_steps=10, decay_steps=20, num_steps=20
)
UNCHANGED = {"train.flip": False, "dned.input": "grey"}  # no random change of the frames


def make_config(**changes):
    config = streets_video.get_config("tiny")
    config.loss.perceptual = 0.0
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
        **fast_jit(lambda b, k: vars(prepare_scene(b, k, NUM_CLASSES, config)))(batch, keys)
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


@pytest.mark.parametrize("changes", [{"train.flip": True}, {"train.zoom": 0.5}], ids=str)
def test_both_frames_of_a_pair_change_alike_and_the_flow_with_them(changes):
    batch = pairs(16)
    batch["image"][:, 1] = batch["image"][:, 0]
    batch["label"][:, 1] = batch["label"][:, 0]
    batch["flow"][...] = (3, 1)
    scene = scene_of(batch, **{"train.flip": False, **changes})
    for array in (scene.image, scene.label_map, scene.edge_map, scene.dned_input):
        np.testing.assert_array_equal(array[0::2], array[1::2])
    originals = batch["image"][:, 0] / np.float32(127.5) - 1
    is_changed = np.abs(scene.image[0::2] - originals).max((1, 2, 3)) > 1e-3
    x, y = np.moveaxis(np.asarray(scene.flow), -1, 0)
    if "train.flip" in changes:
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
    flow = image_flow(frames[0::2], frames[1::2])
    return Scene(None, jnp.asarray(frames), None, None, flow)


def fakes(scene, seed=1):
    noise = np.random.RandomState(seed).normal(0, 0.1, scene.image.shape)
    return jnp.clip(scene.image + noise.astype(np.float32), -1, 1)


@functools.cache
def terms_of(loss, mask="warp"):
    config = make_config(**{"flow.loss": loss, "flow.mask": mask})
    return {
        name: float(value)
        for name, value in flow_terms(fakes(smooth_scene()), smooth_scene(), config).items()
    }


def test_the_terms_are_eq_8_and_the_warp_loss():
    scene = smooth_scene()
    fake = fakes(scene)
    luma = np.array([0.299, 0.587, 0.114], np.float32)
    grey = ((fake + 1) * 127.5 * luma).sum(-1, keepdims=True)
    fake_flow = farneback(grey[0::2], grey[1::2])
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
    weights = {"flow.loss": "both", "flow.weight": 3.0, "flow.warp_weight": 0.5}
    scene = smooth_scene()
    terms = flow_terms(fakes(scene), scene, make_config(**weights))
    expected = terms_of("both")
    np.testing.assert_allclose(terms["generator/flow"], 3 * expected["generator/flow"], rtol=1e-5)
    np.testing.assert_allclose(
        terms["generator/warping"], 0.05 * expected["generator/warping"], rtol=1e-5
    )


def test_a_flicker_of_the_generated_frames_is_their_warping_error():
    """The second frames are brighter by 0.2 of [-1, 1], which is 0.1 of [0, 1]."""
    first = np.random.RandomState(0).uniform(-0.5, 0.5, (2, 32, 40, 3)).astype(np.float32)
    fake = np.stack([first, first + 0.2], 1).reshape(4, 32, 40, 3)
    still = Scene(None, jnp.zeros((4, 32, 40, 3)), None, None, jnp.zeros((2, 32, 40, 2)))
    np.testing.assert_allclose(warping_error(fake, still), 0.1**2, rtol=1e-4)


def test_the_real_frames_have_no_flow_loss():
    scene = smooth_scene()
    terms = flow_terms(scene.image, scene, make_config(**{"flow.loss": "both"}))
    np.testing.assert_allclose(terms["generator/flow"], 0, atol=1e-5)
    shaken = flow_terms(fakes(scene), scene, make_config(**{"flow.loss": "both"}))
    assert terms["generator/warping"] < 0.5 * shaken["generator/warping"]


def test_a_pair_does_not_depend_on_what_else_is_in_its_batch():
    config = make_config(**{"flow.loss": "both", "flow.mask": "both"})
    together = [smooth_scene(), fakes(smooth_scene())]
    values = []
    for example in range(2):
        part = slice(2 * example, 2 * example + 2)
        scene = Scene(
            None, together[0].image[part], None, None, together[0].flow[example : example + 1]
        )
        np.testing.assert_allclose(
            visible_mask(scene)[0], visible_mask(together[0])[example], atol=0
        )
        fake = together[1][part]
        values.append(flow_terms(fake, scene, config) | {"error": warping_error(fake, scene)})
    whole = flow_terms(together[1], together[0], config)
    whole["error"] = warping_error(together[1], together[0])
    for name, value in whole.items():
        np.testing.assert_allclose(np.mean([v[name] for v in values]), value, rtol=1e-5)


@functools.cache
def take_step(**changes):
    config = make_config(**UNCHANGED, **changes)
    networks = stub_networks(NUM_CLASSES)
    train_step = fast_jit(make_train_step(networks, None, SCHEDULE, config, axis_name=None))
    batch = pairs()
    if config.data.frames == 1:
        batch = {key: batch[key].reshape(4, 1, *batch[key].shape[2:]) for key in batch_keys(1)}
    after, metrics = train_step(random_state(networks, config, SCHEDULE), {}, batch)
    gradients = cases.first_gradients(after.optimizer_state, config.optimizer.beta1)
    return gradients, jax.device_get(metrics), after


def test_without_a_flow_loss_pairs_are_images():
    gradients, metrics, after = take_step(**{"flow.loss": "none"})
    expected_gradients, expected, as_images = take_step(**{"data.frames": 1})
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, err_msg=name)
    assert metrics.keys() - expected.keys() == {"warping_error"}
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
