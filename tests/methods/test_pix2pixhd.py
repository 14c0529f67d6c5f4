"""pix2pixHD: labels and boundaries of instances, used as it was trained."""

import jax
import numpy as np
import pytest

from configs.baselines import pix2pixhd
from sflow_jax.methods import create_method
from sflow_jax.methods.frames import keys_per_frame
from sflow_jax.ops import augment
from sflow_jax.ops.boundaries import instance_boundaries
from sflow_jax.runs.schedule import Schedule
from tests.class_tables import numbered_classes
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
    columns = np.arange(SIZE[1], dtype=np.uint16)[:, None] // 5
    return batch | {"instance": batch["label"].astype(np.uint16) * 1000 + columns}


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
