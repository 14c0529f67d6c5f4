"""pix2pix: dropout for noise, labels in colors, and the order in which the players move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.baselines import pix2pix
from sflow_jax import losses
from sflow_jax.methods import create_method
from sflow_jax.models.pix2pix import UNetGenerator
from sflow_jax.ops import augment
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.step import make_train_step
from tests.class_tables import numbered_classes
from tests.fast_jit import fast_jit
from tests.parity import cases
from tests.random_weights import init_random, random_batch, random_state

NUM_CLASSES = 3
CLASSES = numbered_classes(NUM_CLASSES)
SCHEDULE = Schedule(1, 0, 0, 10, 20, 20)
SIZE = (32, 64)


def make_config(**changes):
    config = pix2pix.get_config("streets")
    config.generator.width = config.discriminator.width = 2
    config.generator.num_downsamplings = 5
    config.augmentation.flip, config.augmentation.zoom = False, 0.0
    config.update_from_flattened_dict(changes)
    return config


def make_method(**changes):
    config = make_config(**changes)
    return config, create_method(config, CLASSES, SCHEDULE)


@pytest.mark.parametrize("labels", ["colors", "one_hot"])
def test_a_translation_is_the_fake_of_a_train_step_to_the_bit(labels):
    """Of the same frame and the same noise: dropout stays on in use."""
    config, method = make_method(**{"pix2pix.labels": labels})
    params = random_state(method, config, SCHEDULE).params
    batch = random_batch(SIZE, 2, NUM_CLASSES)
    noise = np.array([3, 2**32 - 1], np.uint32)
    scene = method.scene(batch, jax.random.split(jax.random.key(0)))
    scene = type(scene)(scene.condition, scene.image, jax.vmap(jax.random.key)(noise))
    generated = method.generate(params, scene, 0)
    frames = batch["label"][:, 0], batch["image"][:, 0]
    translated = method.translate(params, *frames, noise=noise)
    np.testing.assert_array_equal(translated["image"], generated)
    assert scene.condition.shape[-1] == (3 if labels == "colors" else NUM_CLASSES)


def test_labels_are_seen_in_the_colors_of_their_classes():
    _, method = make_method()
    batch = random_batch(SIZE, 1, NUM_CLASSES)
    scene = method.scene(batch, jax.random.split(jax.random.key(0), 1))
    colors = np.array([c.color for c in CLASSES.classes])[batch["label"][:, 0, ..., 0]]
    np.testing.assert_allclose(scene.condition, colors / 127.5 - 1, atol=1e-6)


def test_equal_noise_gives_equal_frames_and_other_noise_others():
    config, method = make_method()
    params = random_state(method, config, SCHEDULE).params
    batch = random_batch(SIZE, 1, NUM_CLASSES)
    label, image = (np.repeat(batch[key][:, 0], 3, 0) for key in ("label", "image"))
    pictures = method.translate(params, label, image, np.array([5, 5, 6], np.uint32))["image"]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert np.abs(pictures[0] - pictures[2]).max() > 1e-3


def test_a_clip_keeps_its_noise_and_variants_differ():
    _, method = make_method()
    noise = method.styles(["clip a", "clip a", "clip b"])["noise"]
    assert noise[0] == noise[1] != noise[2]
    assert len({int(method.styles(["clip a"], variant)["noise"][0]) for variant in range(4)}) == 4


def test_the_frames_of_a_pair_share_their_noise():
    _, method = make_method(**{"data.frames": 2, "init_from": "none"})
    batch = random_batch(SIZE, 2, NUM_CLASSES, num_frames=2)
    noise = method.scene(batch, jax.random.split(jax.random.key(0))).noise
    draws = np.asarray(jax.vmap(jax.random.bits)(noise))
    assert draws[0] == draws[1] != draws[2] == draws[3]


def test_dropout_is_in_the_first_three_wide_layers_of_the_decoder():
    """Of eight halvings three are, as in the paper, of six two, of three none."""
    for halvings, expected in ((8, 3), (6, 2), (3, 0)):
        module = UNetGenerator(1, halvings)
        condition = cases.noise(1, 256, 256, 3)
        jaxpr = jax.make_jaxpr(module.init_with_output)(
            jax.random.key(0), condition, jax.random.split(jax.random.key(0), 1)
        )
        # Parameters are drawn from a normal distribution: only dropout draws bits to compare.
        assert str(jaxpr).count("bernoulli") == expected


def test_no_noise_drops_nothing_and_sizes_that_do_not_halve_are_cropped_back():
    module = UNetGenerator(2, 4)
    condition = cases.noise(2, 21, 35, 3)
    params = init_random(module, condition)
    image = fast_jit(module.apply)(params, condition)
    assert image.shape == (2, 21, 35, 3)
    assert np.std(image) > 0.01
    np.testing.assert_array_equal(image, fast_jit(module.apply)(params, condition))


@pytest.mark.parametrize("order", ["together", "discriminator_first"])
def test_the_generator_plays_against_the_discriminator_that_the_order_says(order):
    config, method = make_method(**{"train.order": order})
    state = random_state(method, config, SCHEDULE)
    batch = random_batch(SIZE, 2, NUM_CLASSES)
    step = fast_jit(make_train_step(method, SCHEDULE, config, axis_name=None))
    after, metrics = step(state, {}, batch)
    key = jax.random.fold_in(jax.random.key(config.seed), 0)
    scene = method.scene(batch, augment.example_keys(key, 2, None))

    def generator_loss(params, opponent):
        fake = method.generate(params, scene, 0)
        scores = method.discriminator.apply(opponent.discriminator_params, scene.condition, fake)
        return (
            losses.adversarial_generator(scores, "bce") + 100 * jnp.abs(fake - scene.image).mean()
        )

    opponents = {"together": state, "discriminator_first": after}
    values = {}
    for name, opponent in opponents.items():
        values[name], gradients = fast_jit(jax.value_and_grad(generator_loss))(
            state.params, opponent
        )
        if name == order:
            found = cases.first_gradients(after.optimizer_state, config.optimizer.beta1)
            jax.tree.map(
                lambda ours, theirs: np.testing.assert_allclose(ours, theirs, rtol=0.01, atol=1e-4),
                found,
                gradients,
            )
    np.testing.assert_allclose(metrics["generator/total"], values[order], rtol=1e-5)
    assert abs(values["together"] - values["discriminator_first"]) > 1e-4
    assert set(metrics) > {"generator/l1", "discriminator/accuracy"}
