"""pix2pixHD: labels and boundaries of instances, used as it was trained."""

import jax
import numpy as np
import pytest

from configs.baselines import pix2pixhd
from sflow_jax.methods import create_method
from sflow_jax.methods.frames import keys_per_frame
from sflow_jax.ops import augment
from sflow_jax.ops.instances import instance_boundaries
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.step import make_train_step
from tests.class_tables import numbered_classes
from tests.fast_jit import fast_jit
from tests.random_weights import random_batch, random_state

NUM_CLASSES = 3
CLASSES = numbered_classes(NUM_CLASSES)
SCHEDULE = Schedule(1, 0, 0, 10, 20, 20)
SIZE = (16, 24)


def make_method(**changes):
    config = pix2pixhd.get_config("streets")
    config.generator.width = config.discriminator.width = 2
    config.generator.num_blocks = 1
    config.generator.num_downsamplings = 2
    config.augmentation.flip = False
    config.update_from_flattened_dict(changes)
    return config, create_method(config, CLASSES, SCHEDULE)


def make_batch(num_frames=1):
    batch = random_batch(SIZE, 2, NUM_CLASSES, num_frames=num_frames)
    # Class 0 is stuff; of the others every fifth column begins another object.
    label = batch["label"].astype(np.uint16)
    columns = np.arange(SIZE[1], dtype=np.uint16)[:, None] // 5
    return batch | {"instance": np.where(label == 0, label, 1000 * label + columns)}


@pytest.mark.parametrize("boundaries", [True, False])
def test_a_translation_is_the_fake_of_a_train_step_to_the_bit(boundaries):
    config, method = make_method(**{"pix2pixhd.boundaries": boundaries})
    params = random_state(method, config, SCHEDULE).params
    batch = make_batch()
    scene = method.scene(batch, jax.random.split(jax.random.key(0)))
    inputs = {key: batch[key][:, 0] for key in method.input_keys}
    assert list(inputs) == ["instance"] * boundaries
    outputs = method.translate(params, batch["label"][:, 0], batch["image"][:, 0], **inputs)
    np.testing.assert_array_equal(outputs["image"], method.generate(params, scene, 0))
    assert list(method.maps(outputs)) == ["boundaries"] * boundaries
    judged = method.judged(scene, outputs["image"])
    assert judged.condition.shape == (2, *SIZE, NUM_CLASSES + boundaries)


def test_boundaries_are_those_of_the_mirrored_and_enlarged_instances():
    """They stay two pixels wide, and do not move to where mirrored boundaries would not be."""
    _, method = make_method(**{"augmentation.flip": True, "augmentation.zoom": 1.0})
    batch = make_batch()
    keys = jax.random.split(jax.random.key(3))
    flip_keys, zoom_keys = keys_per_frame(keys, 1, 2)
    zoom = augment.random_zooms(zoom_keys, 1.0)
    flips = augment.random_flips(flip_keys)
    assert flips[0] != flips[1]
    instance = augment.zoom_labels(batch["instance"][:, 0], zoom)
    expected = instance_boundaries(augment.flip_horizontally(instance, flips))
    np.testing.assert_array_equal(method.scene(batch, keys).boundaries, expected)
    assert 0.05 < np.mean(expected) < 0.9


def test_a_missing_map_of_instances_is_named():
    config, method = make_method()
    params = random_state(method, config, SCHEDULE).params
    batch = make_batch()
    with pytest.raises(ValueError, match="instance: found None"):
        method.translate(params, batch["label"][:, 0], batch["image"][:, 0])


def test_the_terms_are_those_of_the_official_loss():
    config, method = make_method()
    batch = make_batch()
    state = random_state(method, config, SCHEDULE)
    scene = method.scene(batch, jax.random.split(jax.random.key(0)))
    fake = method.generate(state.params, scene, 0)
    judged = method.judged(scene, fake)
    judge = method.discriminator.apply
    real, scored = (
        judge(state.discriminator_params, judged.condition, x) for x in (judged.real, judged.fake)
    )
    terms, _ = method.terms(scene, fake, real, scored, {})
    assert set(terms) == {"generator/adversarial", "generator/feature_matching"}
    matching = 0.0
    for real_features, fake_features in zip(real, scored, strict=True):
        pairs = zip(real_features[:-1], fake_features[:-1], strict=True)
        matching += 10 * sum(np.abs(a - b).mean() for a, b in pairs) / 2  # 4 / layers is 1 here
    np.testing.assert_allclose(terms["generator/feature_matching"], matching, rtol=1e-5)
    adversarial = sum(np.square(features[-1] - 1).mean() for features in scored)
    np.testing.assert_allclose(terms["generator/adversarial"], adversarial, rtol=1e-5)


FEATURES = {"pix2pixhd.num_features": 3}


def test_in_training_the_generator_sees_features_of_the_real_instances():
    """In use without clusters, those of the edge image."""
    config, method = make_method(**FEATURES)
    params = random_state(method, config, SCHEDULE).params
    assert set(params) == {"generator", "encoder"}
    batch = make_batch()
    scene = method.scene(batch, jax.random.split(jax.random.key(0)))
    inputs = {key: batch[key][:, 0] for key in method.input_keys}
    outputs = method.translate(params, batch["label"][:, 0], batch["image"][:, 0], **inputs)
    np.testing.assert_array_equal(outputs["image"], method.generate(params, scene, 0))
    features = method.encoder.apply(params["encoder"], scene.image, scene.instance)
    assert features.shape == (2, *SIZE, 3)
    assert np.std(features) > 0.01
    judged = method.judged(scene, outputs["image"])
    assert judged.condition.shape[-1] == NUM_CLASSES + 1  # the discriminators see none


def test_the_encoder_is_trained_with_the_generator():
    config, method = make_method(**FEATURES, **{"loss.perceptual_weight": 0.0})
    state = random_state(method, config, SCHEDULE)
    step = fast_jit(make_train_step(method, SCHEDULE, config, axis_name=None))
    after, metrics = step(state, {}, make_batch())
    assert metrics["gradient_norm/encoder"] > 1e-4
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), after.params, state.params)
    assert all(leaf > 0 for leaf in jax.tree.leaves(moved["encoder"]))


def test_in_use_instances_draw_features_of_their_class_from_training_images():
    config, method = make_method(**FEATURES)
    params = random_state(method, config, SCHEDULE).params
    batch = make_batch()
    source = [{key: batch[key][index] for key in batch} for index in range(2)]
    learned = method.learn_use(params, source)
    large = [np.unique(example["instance"], return_counts=True) for example in source]
    classes = {
        int(identity) // 1000 if identity >= 1000 else int(identity)
        for ids, counts in large
        for identity, count in zip(ids, counts, strict=True)
        if count > SIZE[0] * SIZE[1] / 64
    }
    assert len(classes) > 1
    assert {label for label in range(NUM_CLASSES) if learned.centers[label].any()} == classes
    used = method.with_learned(learned)
    frames = {key: batch[key][:, 0] for key in ("label", "image", "instance")}

    def translate(look):
        return used.translate(
            params, frames["label"], frames["image"], frames["instance"], look=look
        )["image"]

    first, again, other = translate(1), translate(np.array([1, 1])), translate(2)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4
    black = used.translate(params, frames["label"], 0 * frames["image"], frames["instance"], look=1)
    np.testing.assert_array_equal(black["image"], first)  # no real image is needed
    looks = used.styles(["clip", "clip", "b"])["look"]
    assert looks[0] == looks[1] != looks[2]
    assert used.styles(["clip"], 1)["look"] != looks[0]
    assert not make_method()[1].styles(["clip"])


def test_the_encoder_has_the_official_number_of_parameters():
    """But for the biases before norms: 736."""
    _, method = make_method(**FEATURES)
    inputs = method.example_inputs((64, 64))["encoder"]
    shapes = jax.eval_shape(method.encoder.init, jax.random.key(0), *inputs)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) + 736 == 788_803
