"""The paper's method: one generator, used as it was trained."""

import dataclasses

import jax
import numpy as np
import pytest

from configs import streets
from sflow_jax.methods import create_method
from sflow_jax.methods.sflow import Generated
from sflow_jax.pretrained.perceptual import PerceptualNetwork
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.step import make_train_step
from tests.class_tables import numbered_classes
from tests.fast_jit import fast_jit
from tests.random_weights import EDGE_THRESHOLD, random_batch, random_state
from tests.stub_networks import stub_method

NUM_CLASSES = 3
CLASSES = numbered_classes(NUM_CLASSES)
SCHEDULE = Schedule(
    1, laplacian_steps=2, ramp_steps=4, constant_steps=10, decay_steps=20, num_steps=20
)


def make_config(**changes):
    config = streets.get_test_config()
    config.edges.threshold = EDGE_THRESHOLD
    config.edges.quantile = None
    config.augmentation.flip = False
    # DNED sees in training what it sees in use.
    for option in ("threshold_jitter", "edge_dropout", "edge_blur"):
        config.augmentation[option] = 0.0
    config.update_from_flattened_dict(changes)
    return config


OPTIONS = [
    {},
    {"loss.side_weights": (1.0, 0.0, 0.0, 2.0, 0.0, 0.5), "dned.stop_gradient": True},
    {"generator.edges": "laplacian"},
    {"generator.edges": "none"},
    {"dned.input": "gray"},
    {"dned.input": "rgb"},
]
CASES = [(stub_method, step, changes) for step in (0, 3, 8) for changes in OPTIONS]


@pytest.mark.parametrize(("make", "step", "changes"), [(create_method, 3, {}), *CASES])
def test_a_translation_is_the_fake_of_a_train_step_to_the_bit(make, step, changes):
    """Of the same frame, for the same edges: the generator is used as it was trained."""
    config = make_config(**changes)
    method = make(config, CLASSES, SCHEDULE)
    params = random_state(method, config, SCHEDULE).params
    batch = random_batch((16, 24), 2, NUM_CLASSES)
    scene = method.scene(batch, jax.random.split(jax.random.key(0)))
    generated = method.generate(params, scene, step)
    frames = batch["label"][:, 0], batch["image"][:, 0]
    translated = method.translate(params, *frames, **method.controls(step))
    np.testing.assert_array_equal(translated["image"], generated.image)
    np.testing.assert_array_equal(translated["edge_map"], generated.edge_map)
    np.testing.assert_array_equal(translated["side_outputs"], generated.side_outputs)
    assert np.std(generated.image) > 0.01


@pytest.mark.parametrize("edges", ["dned", "none"])
def test_a_generator_that_is_told_colors_is_used_as_it_was_trained(edges):
    config = make_config(**{"generator.palette": "classes", "generator.edges": edges})
    method = create_method(config, CLASSES, SCHEDULE)
    params = random_state(method, config, SCHEDULE).params
    batch = random_batch((16, 24), 2, NUM_CLASSES)
    scene = method.scene(batch, jax.random.split(jax.random.key(0)))
    generated = method.generate(params, scene, 8)
    frames = batch["label"][:, 0], batch["image"][:, 0]
    method = dataclasses.replace(method, palettes=np.asarray(scene.palette))
    for style, expected in ((np.array([0, 1]), slice(None)), (1, slice(1, 2))):
        translated = method.translate(params, *frames, style=style)
        np.testing.assert_allclose(
            translated["image"][expected], generated.image[expected], atol=1e-5
        )
    others = method.translate(params, *frames, style=np.array([1, 0]))["image"]
    assert np.abs(others - generated.image).mean() > 1e-3


def test_a_clip_has_one_style_and_variants_have_others():
    config = make_config(**{"generator.palette": "classes"})
    palettes = np.zeros((8, NUM_CLASSES, 3), np.float32)
    method = create_method(config, CLASSES, SCHEDULE, palettes=palettes)
    first = method.styles(["a", "b", "a", "c", "d"])["style"]
    assert first[0] == first[2]
    assert len(set(first)) > 1
    assert set(first) <= set(range(8))
    second = method.styles(["a", "b", "a", "c", "d"], variant=1)["style"]
    assert (first != second).all()
    assert create_method(make_config(), CLASSES, SCHEDULE).styles(["a"]) == {}


def test_the_fake_of_the_train_step_is_the_translation():
    """By what the step logs of it."""
    config = make_config(**{"loss.perceptual_weight": 0.0})
    method = stub_method(config, CLASSES, SCHEDULE)
    step = 3
    state = random_state(method, config, SCHEDULE).replace(step=np.int32(step))
    batch = random_batch((16, 24), 2, NUM_CLASSES)
    train_step = fast_jit(make_train_step(method, SCHEDULE, config, axis_name=None))
    _, metrics = train_step(state, {}, batch)
    frames = batch["label"][:, 0], batch["image"][:, 0]
    translated = method.translate(state.params, *frames, **method.controls(step))
    real = batch["image"][:, 0] / np.float32(127.5) - 1
    expected = np.abs(translated["image"] - real).mean()
    np.testing.assert_allclose(metrics["l1"], expected, rtol=1e-6)


def scene_of(batch, num_examples, **changes):
    method = create_method(make_config(**changes), CLASSES, SCHEDULE)
    keys = jax.random.split(jax.random.key(1), num_examples)
    assert set(method.batch_keys) <= set(batch)
    return method.scene({key: batch[key] for key in method.batch_keys}, keys)


def test_the_perceptual_network_sees_one_window_of_real_and_fake():
    config = make_config(**{"loss.perceptual_window": 0.5, "loss.perceptual_weight": 3.0})
    seen = []

    def features(params, image):
        seen.append(image)
        return [params * image] * 5

    method = dataclasses.replace(
        create_method(config, CLASSES, SCHEDULE), perceptual_network=PerceptualNetwork(features, {})
    )
    batch = random_batch((16, 40), 2, NUM_CLASSES)
    scene = method.scene(batch, jax.random.split(jax.random.key(0)))
    fake = -0.5 * scene.image
    sides = [np.zeros((2, 16, 40, 1), np.float32)] * 6
    scores = [[jax.numpy.ones((2, 4, 4, 1))] * 2]
    terms, _ = method.terms(scene, Generated(fake, sides, None, 1.0), scores, scores, 2.0)

    firsts = np.floor(np.asarray(scene.windows) * 21).astype(int)
    cut = [
        [x[i, :, first : first + 20] for i, first in enumerate(firsts)] for x in (scene.image, fake)
    ]
    np.testing.assert_array_equal(seen, cut)
    # The slices' weights of the test config are 1/P.
    expected = 3 * 2 * np.abs(seen[0] - seen[1]).mean()
    np.testing.assert_allclose(terms["generator/perceptual"], expected, rtol=1e-5)
    assert method.perceptual_size((16, 40)) == (16, 20)


def test_ensemble_weights_are_drawn_in_training_for_a_share_of_the_examples():
    batch = random_batch((16, 16), 60, NUM_CLASSES)
    side_weights = (1.0, 0.0, 0.0, 2.0, 0.0, 0.5)
    fixed = {"loss.side_weights": side_weights}
    weights = scene_of(batch, 60, **fixed).ensemble_weights
    np.testing.assert_array_equal(weights, np.tile(np.float32(side_weights), (60, 1)))
    weights = scene_of(batch, 60, **fixed, **{"dned.ensemble_draws": 0.5}).ensemble_weights
    is_drawn = (weights != np.float32(side_weights)).any(1)
    assert 15 < is_drawn.sum() < 45
    drawn = np.asarray(weights)[is_drawn]
    assert len(np.unique(drawn, axis=0)) == len(drawn)
    np.testing.assert_allclose(drawn.sum(1), 1, atol=1e-6)


def test_dned_learns_to_mend_the_edges_of_cg_frames():
    batch = random_batch((16, 16), 40, NUM_CLASSES)
    batch["cg"] = random_batch((16, 16), 40, NUM_CLASSES, seed=1)["image"]
    real = scene_of(batch, 40)
    np.testing.assert_array_equal(real.dned_input, real.edge_map)
    mixed = scene_of(batch, 40, **{"augmentation.cg_edges": 0.5})
    np.testing.assert_array_equal(mixed.edge_map, real.edge_map)  # the target stays the real one's
    differs = (np.asarray(mixed.dned_input) != real.dned_input).any((1, 2, 3))
    assert 10 < differs.sum() < 30
    cg = scene_of(batch | {"image": batch["cg"]}, 40)
    np.testing.assert_array_equal(mixed.dned_input[differs], cg.edge_map[differs])


def test_the_frames_of_a_pair_share_ensemble_weights_and_whose_edges_dned_sees():
    frames = {"data.frames": 2, "dned.ensemble_draws": 1.0, "augmentation.cg_edges": 0.5}
    batch = random_batch((16, 16), 20, NUM_CLASSES, num_frames=2)
    batch["cg"] = np.repeat(batch["image"][:, :1], 2, 1)  # a pair of equal frames
    scene = scene_of(batch, 20, **frames)
    first, second = scene.ensemble_weights[::2], scene.ensemble_weights[1::2]
    np.testing.assert_array_equal(first, second)
    sees_cg = (np.asarray(scene.dned_input) == scene.dned_input[::2].repeat(2, 0)).all((1, 2, 3))
    assert 4 < sees_cg[1::2].sum() < 16


def test_ensemble_weights_and_share_change_the_translation():
    config = make_config()
    method = stub_method(config, CLASSES, SCHEDULE)
    params = random_state(method, config, SCHEDULE).params
    batch = random_batch((16, 24), 2, NUM_CLASSES)
    label, image = batch["label"][:, 0], batch["image"][:, 0]

    def edges(**controls):
        return method.translate(params, label, image, **controls)["edge_map"]

    laplacian = method.translate(params, label, image)["laplacian"]
    first = np.eye(6, dtype=np.float32)[0]
    np.testing.assert_array_equal(edges(share=0.0), laplacian)
    np.testing.assert_array_equal(edges(share=1.0), edges())
    assert np.abs(edges(weights=first) - edges()).max() > 0.01
    both = np.stack([first, np.ones(6, np.float32)])
    np.testing.assert_allclose(edges(weights=both)[0], edges(weights=first)[0], atol=1e-6)
    np.testing.assert_allclose(edges(weights=both)[1], edges()[1], atol=1e-6)


def test_previews_show_laplacian_sides_and_what_the_generator_sees():
    config = make_config()
    method = stub_method(config, CLASSES, SCHEDULE)
    params = random_state(method, config, SCHEDULE).params
    batch = random_batch((16, 24), 2, NUM_CLASSES)
    outputs = method.translate(params, batch["label"][:, 0], batch["image"][:, 0])
    maps = method.maps(outputs)
    sides = ["d1", "d2", "d3", "d4", "d5", "fusion"]
    assert list(maps) == ["Laplacian", *sides, "edges into G"]
    np.testing.assert_array_equal(maps["edges into G"], outputs["edge_map"])
    mean = np.mean([maps[name] for name in sides], 0)
    np.testing.assert_allclose(mean, outputs["edge_map"], atol=1e-6)


def draw_weights(num_variants, seed, **changes):
    variants = stub_method(make_config(**changes), CLASSES, SCHEDULE).variants(num_variants, seed)
    return np.stack([variant["weights"] for variant in variants])


def test_without_a_seed_the_weights_are_those_of_training():
    weights = draw_weights(1, None, **{"loss.side_weights": (0.0, 0.0, 0.0, 0.0, 1.0, 3.0)})
    np.testing.assert_allclose(weights, [[0, 0, 0, 0, 0.25, 0.75]])


def test_weights_depend_on_seed_and_variant_alone():
    weights = draw_weights(5, seed=7)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(draw_weights(2, seed=7), weights[:2])
    assert len({tuple(row) for row in [*weights, *draw_weights(5, seed=8)]}) == 10
    np.testing.assert_allclose(draw_weights(1, seed=None), np.full((1, 6), 1 / 6))
    # Dirichlet(1, ..., 1): every weight has mean 1/6 and standard deviation sqrt(5 / 252).
    many = draw_weights(500, seed=0)
    np.testing.assert_allclose(many.mean(0), 1 / 6, atol=0.03)
    np.testing.assert_allclose(many.std(0), np.sqrt(5 / 252), atol=0.03)
