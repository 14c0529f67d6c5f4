"""vid2vid: which frames its networks see of a clip, and that it is used as it was trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.baselines import vid2vid
from sflow_jax import configuration, losses
from sflow_jax.errors import InputError
from sflow_jax.methods import create_method
from sflow_jax.models.vid2vid import SequentialOutput
from sflow_jax.ops.warp import color_mask, warp
from sflow_jax.runs.schedule import Schedule
from tests.class_tables import numbered_classes
from tests.fast_jit import fast_jit
from tests.random_weights import random_batch, random_params

NUM_CLASSES, NUM_FRAMES = 3, 8
SIZE = (16, 24)
SCHEDULE = Schedule(10, 0, 0, 100, 200, 200)
FIRST, SECOND = "discriminator_temporal_0", "discriminator_temporal_1"


def make_method(**changes):
    config = vid2vid.get_config("streets")
    config.generator.width = config.discriminator.width = 2
    config.generator.num_blocks = config.generator.num_downsamplings = 1
    config.data.frames = NUM_FRAMES
    config.augmentation.flip = False
    config.loss.perceptual_weight = 0.0
    config.update_from_flattened_dict(changes)
    return create_method(config, numbered_classes(NUM_CLASSES), SCHEDULE)


def make_batch():
    batch = random_batch(SIZE, 2, NUM_CLASSES, num_frames=NUM_FRAMES)
    batch["instance"] = batch["label"].astype(np.uint16) * 1000
    return batch


def make_clip(method):
    return method.clip(make_batch(), jax.random.split(jax.random.key(0), 2))


def numbered_clip(method):
    """A clip whose every array says which frame it is of."""

    def number(x):
        return jnp.broadcast_to(jnp.arange(NUM_FRAMES).reshape(-1, 1, 1, 1, 1), x.shape) * 1.0

    return jax.tree.map(number, make_clip(method))


def frames_of(x):
    """The number of the frame in each group of three channels of a numbered array."""
    return np.unique(np.asarray(x)[0, 0, 0].reshape(-1, 3), axis=-1).ravel().tolist()


def test_the_flow_of_a_clip_goes_back_to_the_frame_before():
    method = make_method()
    random = np.random.default_rng(0)
    texture = np.kron(random.integers(0, 256, (16, 24, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    batch = random_batch((64, 64), 1, NUM_CLASSES, num_frames=4)
    # The picture moves two columns to the left in every frame.
    batch["image"] = np.stack([texture[:, 2 * t : 2 * t + 64] for t in range(4)])[None]
    batch["instance"] = batch["label"].astype(np.uint16)
    clip = method.clip(batch, jax.random.split(jax.random.key(0), 1))
    assert set(clip.flows) == {1, 3}
    for skip, flows in clip.flows.items():
        assert not np.asarray(flows[:skip]).any()
        middle = np.asarray(flows[skip:])[:, 0, 16:-16, 16:-16].reshape(-1, 2)
        np.testing.assert_allclose(np.median(middle, 0), (2 * skip, 0), atol=0.1)
    assert not np.asarray(clip.confidence[0]).any()
    assert np.asarray(clip.confidence[1:, 0, 16:-16, 16:-16]).mean() > 0.5
    np.testing.assert_array_equal(
        clip.confidence[2], color_mask(clip.image[2], clip.image[1], clip.flows[1][2])
    )


@pytest.mark.parametrize("first_frames", ["none", "given"])
def test_the_frames_that_a_moment_has(first_frames):
    method = make_method(**{"vid2vid.first_frames": first_frames})
    num_given = 2 if first_frames == "given" else 0
    clip = numbered_clip(method)
    memory = method.first_memory(clip)
    assert frames_of(jnp.concatenate(list(memory), -1)) == (
        [0, 0, *([0, 1] if num_given else [0, 0]), *[0] * (NUM_FRAMES - 2)]
    )
    for time in range(num_given, NUM_FRAMES):
        moment = method.moment(clip, memory, jnp.asarray(time))
        number = float(time)
        assert moment.is_start == (time == 0)
        assert moment.condition.min() == moment.condition.max() == number
        channels = np.asarray(moment.conditions)[0, 0, 0].reshape(3, -1)
        assert channels.tolist() == [
            [max(0, t)] * (NUM_CLASSES + 1) for t in (time - 2, time - 1, time)
        ]
        assert frames_of(moment.image) == [number]
        assert frames_of(moment.real_before) == [max(0, time - 1)]
        made = [100 + t if t >= num_given else max(0, t) for t in (time - 2, time - 1)]
        assert frames_of(moment.previous) == made
        for name, skip in ((FIRST, 1), (SECOND, 3)):
            triple, pair = moment.triples[name], (time - 2 * skip, time - skip)
            assert triple.is_ready == (time - num_given >= 2 * skip)
            if triple.is_ready:
                assert frames_of(triple.real) == list(pair)
                assert frames_of(triple.fake) == [100 + t for t in pair]
                flows = np.asarray(triple.flow)[0, 0, 0] * 20
                np.testing.assert_allclose(flows, [pair[1]] * 2 + [time] * 2)
        image = jnp.full(clip.image.shape[1:], 100.0 + time)
        generated = SequentialOutput(image, image, image[..., :2], image[..., :1])
        memory = method.remember(memory, jnp.asarray(time), generated)


@pytest.mark.parametrize(
    ("num_frames", "first_frames", "lengths"),
    [(30, "given", [6, 12, 24, 28, 28]), (30, "none", [6, 12, 24, 30, 30]), (3, "given", [1] * 5)],
)
def test_clips_get_longer_every_five_epochs(num_frames, first_frames, lengths):
    method = make_method(**{"data.frames": num_frames, "vid2vid.first_frames": first_frames})
    for index, length in enumerate(lengths):
        for step in (50 * index, 50 * index + 49):  # an epoch has ten steps
            first, end = method.frames_to_make(step)
            assert (first, int(end) - first) == (2 if first_frames == "given" else 0, length)


def test_the_terms_are_those_of_the_code():
    method = make_method()
    clip = make_clip(method)
    memory = jax.random.uniform(jax.random.key(1), method.first_memory(clip).shape)
    moment = method.moment(clip, memory, jnp.asarray(4))
    shape = moment.image.shape[:3]
    keys = jax.random.split(jax.random.key(2), 4)
    made = SequentialOutput(
        *(
            jax.random.uniform(key, (*shape, count))
            for key, count in zip(keys, (3, 3, 2, 1), strict=True)
        )
    )

    def scores(key, last):
        features = jax.random.normal(jax.random.key(key), (2, 4, 4, 3))
        return [[features, 2 * features, jnp.full((2, 4, 4, 1), last)]]

    names = list(method.judged(moment, made))
    assert names == ["discriminator_image", FIRST, SECOND]
    real = {name: scores(i, 1.0) for i, name in enumerate(names)}
    fake = {name: scores(10 + i, 0.5 + i) for i, name in enumerate(names)}
    terms, measures = method.terms(moment, made, real, fake, {})
    share = {"image": 2.0, "temporal_0": 1.0, "temporal_1": 0.0}
    for index, (kind, weight) in enumerate(share.items()):
        name = f"discriminator_{kind}"
        assert terms[f"generator/adversarial_{kind}"] == pytest.approx(
            weight * (0.5 + index - 1) ** 2
        )
        matching = losses.feature_matching(real[name], fake[name], "pix2pixhd")
        assert terms[f"generator/feature_matching_{kind}"] == pytest.approx(
            weight * 10 * float(matching), rel=1e-5
        )
    trusted = np.asarray(moment.confidence)
    expected = {
        "flow": 10 * trusted * np.abs(made.flow - moment.flow),
        "flow_warping": 10 * trusted * np.abs(warp(moment.real_before, made.flow) - moment.image),
        "warping": 10 * trusted * np.abs(made.image - warp(moment.previous[..., 3:], moment.flow)),
        "mask": trusted * made.mask,
    }
    for name, values in expected.items():
        assert terms[f"generator/{name}"] == pytest.approx(float(values.mean()), rel=1e-4), name
    assert len(terms) == 2 * 3 + 4
    assert measures == {"l1": pytest.approx(float(losses.l1(made.image, moment.image)))}
    given = make_method(**{"vid2vid.first_frames": "given"})
    assert "generator/mask" not in given.terms(moment, made, real, fake, {})[0]


def test_the_discriminators_judge_frames_and_triples():
    method = make_method()
    clip = make_clip(method)
    memory = jax.random.uniform(jax.random.key(1), method.first_memory(clip).shape)
    moment = method.moment(clip, memory, jnp.asarray(6))
    image, raw = (jnp.full(moment.image.shape, value) for value in (0.5, -0.5))
    made = SequentialOutput(image, raw, image[..., :2], image[..., :1])
    judged = method.judged(moment, made)
    one = judged["discriminator_image"]
    np.testing.assert_array_equal(one.condition, np.concatenate([moment.condition] * 2))
    np.testing.assert_array_equal(one.real, np.concatenate([moment.image] * 2))
    np.testing.assert_array_equal(one.fake, np.concatenate([image, raw]))
    two = judged[SECOND]
    np.testing.assert_array_equal(two.real, jnp.concatenate([*clip.image[0:7:3]], -1))
    fakes = [*memory[2:6:3], image]
    np.testing.assert_array_equal(two.fake, jnp.concatenate(fakes, -1))
    flows = jnp.concatenate([*clip.flows[3][3:7:3]], -1)
    np.testing.assert_allclose(two.condition * 20, flows, rtol=1e-5)
    assert method.shares(moment) == {"discriminator_image": 2.0, FIRST: 1.0, SECOND: 1.0}


@pytest.mark.parametrize("first_frames", ["none", "given"])
def test_it_is_used_as_it_was_trained(first_frames):
    method = make_method(**{"vid2vid.first_frames": first_frames})
    shapes, _ = jax.eval_shape(method.init, jax.random.key(0))
    params, batch = random_params(shapes), make_batch()
    if first_frames == "given":  # as if the first frame had been there before
        for key in ("image", "label", "instance"):
            batch[key][:, :2] = batch[key][:, 2:3]
    clip = method.clip(batch, jax.random.split(jax.random.key(0), 2))
    memory = method.first_memory(clip)
    translate, generate = fast_jit(method.translate), fast_jit(method.generate)
    first, end = method.frames_to_make(0)
    recalled, pictures = {}, []
    for time in range(first, int(end)):
        made = generate(params, method.moment(clip, memory, jnp.asarray(time)))
        memory = method.remember(memory, time, made)
        used = {"label": batch["label"][:, time], "instance": batch["instance"][:, time]}
        outputs = translate(params, edge_image=batch["image"][:, time], **used, **recalled)
        np.testing.assert_allclose(outputs["image"], made.image, atol=1e-3)
        recalled = method.recalled(outputs)
        images = jnp.concatenate([*memory[time + 1 : time + 3]], -1)
        if time > first:  # before, what was given differs
            np.testing.assert_allclose(recalled["memory"]["images"], images, atol=1e-3)
        recalled["memory"]["images"] = images  # rounding would grow from frame to frame
        pictures.append(np.asarray(made.image))
        if time == 0:
            np.testing.assert_array_equal(made.image, made.raw)
    assert len(pictures) >= 6
    assert np.abs(np.diff(pictures, axis=0)).mean() > 0.05
    assert set(method.maps(outputs)) == {"boundaries", "new"}


def test_clips_that_are_too_short_are_refused():
    config = vid2vid.get_config("streets")
    config.data.frames = 2
    with pytest.raises(InputError, match=r"config\.data\.frames: found 2, expected clips of at"):
        configuration.check(config)
