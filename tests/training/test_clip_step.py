"""Both players learn after every frame of a clip."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.baselines import vid2vid
from sflow_jax import losses
from sflow_jax.methods import create_method
from sflow_jax.methods.base import apply
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.clip_step import ClipStep, learn_from_frame, learning_rates
from tests.class_tables import numbered_classes
from tests.fast_jit import fast_jit
from tests.random_weights import random_batch, random_state

SCHEDULE = Schedule(1, 0, 0, 4, 8, 8)
TEMPORAL = "discriminator_temporal_0"


@pytest.fixture(scope="module")
def case():
    config = vid2vid.get_config("streets")
    config.generator.width = config.discriminator.width = 2
    config.generator.num_blocks = config.generator.num_downsamplings = 1
    config.discriminator.num_layers = 1
    config.data.frames = 4
    config.vid2vid.num_temporal_scales = 1
    config.loss.perceptual_weight = 0.0
    method = create_method(config, numbered_classes(3), SCHEDULE)
    batch = random_batch((16, 16), 1, 3, num_frames=4)
    batch["instance"] = batch["label"].astype(np.uint16)
    clip = method.clip(batch, jax.random.split(jax.random.key(0), 1))
    return config, method, batch, clip


def learn(case, state, time):
    config, method, _, clip = case
    moment = method.moment(clip, method.first_memory(clip), jnp.asarray(time))
    step = fast_jit(
        lambda state: learn_from_frame(method, SCHEDULE, config, state, {}, moment, None)
    )
    return moment, *step(state)


def assert_equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, *jax.device_get((found, expected)))


def test_the_rates_of_temporal_discriminators_do_not_fall(case):
    config, method, *_ = case
    config.optimizer.learning_rate = 4e-4
    names = ["generator", "discriminator_image", TEMPORAL]
    for step, rates in ((3, [4e-4] * 3), (6, [2e-4, 2e-4, 4e-4])):
        found = learning_rates(method, SCHEDULE, config, jnp.asarray(step))
        assert list(found) == names
        np.testing.assert_allclose([found[name] for name in names], rates, rtol=1e-6)


def test_a_discriminator_without_frames_to_judge_does_not_learn(case):
    config, method, *_ = case
    state = random_state(method, config, SCHEDULE)
    for time, has_learned in ((1, False), (2, True)):
        _, after, _, metrics = learn(case, state, time)
        for before, now in (
            (state.discriminator_params, after.discriminator_params),
            (state.discriminator_optimizer_state, after.discriminator_optimizer_state),
        ):
            if has_learned:
                with pytest.raises(AssertionError):
                    assert_equal(now[TEMPORAL], before[TEMPORAL])
            else:
                assert_equal(now[TEMPORAL], before[TEMPORAL])
            with pytest.raises(AssertionError):
                assert_equal(now["discriminator_image"], before["discriminator_image"])
        assert (metrics[f"{TEMPORAL}/real"] > 0) == has_learned


def test_both_losses_precede_both_updates(case):
    config, method, *_ = case
    state = dataclasses.replace(random_state(method, config, SCHEDULE), step=np.int32(6))
    moment, after, generated, metrics = learn(case, state, 3)
    judged = method.judged(moment, generated)

    def scores(params, kind):
        return {
            name: apply(
                method.discriminators[name], params[name], one.condition, getattr(one, kind)
            )
            for name, one in judged.items()
        }

    def discriminator_loss(params):
        real, fake = scores(params, "real"), scores(params, "fake")
        image, temporal = (
            sum(losses.adversarial_discriminator(real[name], fake[name]))
            for name in ("discriminator_image", TEMPORAL)
        )
        return 2 * image + temporal

    loss, grads = jax.value_and_grad(discriminator_loss)(state.discriminator_params)
    parts = [metrics[f"{name}/{side}"] for name in judged for side in ("real", "fake")]
    assert sum(parts) == pytest.approx(float(loss), rel=1e-5)
    options = config.optimizer
    for name, rate in (("discriminator_image", 0.5), (TEMPORAL, 1.0)):
        adam = optax.adam(rate * options.learning_rate, b1=options.beta1, b2=options.beta2)
        before = state.discriminator_params[name]
        updates, _ = adam.update(grads[name], adam.init(before))
        expected = optax.apply_updates(before, updates)
        for ours, theirs in zip(
            jax.tree.leaves(after.discriminator_params[name]),
            jax.tree.leaves(expected),
            strict=True,
        ):
            # A first step of Adam is nearly the sign of a gradient, which rounding can turn.
            differences = np.abs(ours - theirs) / (rate * options.learning_rate)
            assert np.median(differences) < 1e-3
            assert (differences < 1e-2).mean() > 0.9
    assert after.step == 6


def test_a_step_is_all_frames_of_a_clip(case):
    config, method, batch, clip = case
    step = ClipStep(method, SCHEDULE, config, jax.devices()[:1])
    stacked = {key: batch[key][None] for key in method.batch_keys}
    state = random_state(method, config, SCHEDULE)
    after, metrics = step(state, {}, stacked)
    assert after.step == 1
    first, end = method.frames_to_make(0)
    assert (first, int(end)) == (0, 4)
    for name, count in (("discriminator_image", 4), (TEMPORAL, 2)):
        counts = optax.tree.get_all_with_path(after.discriminator_optimizer_state[name], "count")
        assert [int(value) for _, value in counts] == [count]
    memory, terms = method.first_memory(clip), []
    learned = random_state(method, config, SCHEDULE)
    for time in range(4):
        moment = method.moment(clip, memory, jnp.asarray(time))
        learned, generated, of_frame = fast_jit(
            lambda state, moment: learn_from_frame(
                method, SCHEDULE, config, state, {}, moment, None
            )
        )(learned, moment)
        memory = method.remember(memory, time, generated)
        terms.append(of_frame)
    for name in ("generator/total", "discriminator_image/real", "l1"):
        expected = np.mean([float(of_frame[name]) for of_frame in terms])
        assert metrics[name] == pytest.approx(expected, rel=2e-2), name
