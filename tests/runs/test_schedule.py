import jax
import numpy as np
import pytest

from configs import default
from sflow_jax.runs.schedule import Schedule


def test_epochs_become_steps():
    train = default.get_config().train
    schedule = Schedule.from_config(train, num_examples=2975, global_batch_size=8)
    assert schedule == Schedule(
        steps_per_epoch=371,
        laplacian_steps=50 * 371,
        ramp_steps=5 * 371,
        constant_steps=100 * 371,
        decay_steps=200 * 371,
        num_steps=200 * 371,
    )


def test_an_end_before_the_last_epoch_does_not_squeeze_the_schedule():
    train = default.get_config().train
    whole = Schedule.from_config(train, 100, 1)
    train.max_steps = 1234
    short = Schedule.from_config(train, 100, 1)
    assert short.num_steps == 1234
    assert (short.laplacian_steps, short.ramp_steps) == (whole.laplacian_steps, whole.ramp_steps)
    assert (short.constant_steps, short.decay_steps) == (whole.constant_steps, whole.decay_steps)
    train.max_steps = 10**6
    assert Schedule.from_config(train, 100, 1).num_steps == whole.num_steps


def test_fractions_of_epochs_and_fewer_examples_than_the_batch():
    train = default.get_config().train
    train.laplacian_epochs, train.ramp_epochs, train.epochs = 1.0, 0.25, 3.0
    schedule = Schedule.from_config(train, 400, 8)
    assert (schedule.laplacian_steps, schedule.ramp_steps, schedule.num_steps) == (50, 12, 150)
    assert schedule.constant_steps == schedule.decay_steps == 150
    assert Schedule.from_config(train, 3, 8).steps_per_epoch == 1


@pytest.mark.parametrize(
    ("step", "share"), [(0, 0), (9, 0), (10, 0), (11, 0.25), (13, 0.75), (14, 1), (100, 1)]
)
def test_the_share_of_dneds_edges_ramps_between_the_stages(step, share):
    schedule = Schedule(
        10, laplacian_steps=10, ramp_steps=4, constant_steps=20, decay_steps=40, num_steps=40
    )
    found = schedule.dned_share(np.int32(step))
    assert found.dtype == np.float32
    assert found == share


def test_without_a_ramp_the_stages_follow_each_other():
    schedule = Schedule(
        1, laplacian_steps=3, ramp_steps=0, constant_steps=5, decay_steps=5, num_steps=5
    )
    assert [float(schedule.dned_share(np.int32(step))) for step in range(6)] == [0, 0, 0, 1, 1, 1]


def test_the_video_stage_has_dneds_edges_from_its_first_step():
    train = default.video_stage(default.get_config()).train
    schedule = Schedule.from_config(train, num_examples=100, global_batch_size=1)
    assert schedule.num_steps == 2000
    assert [float(schedule.dned_share(np.int32(step))) for step in (0, 1, 1999)] == [1, 1, 1]
    rates = jax.vmap(schedule.learning_rate(2e-5))(np.array([0, 1999]))
    np.testing.assert_allclose(rates, 2e-5)


def test_the_learning_rate_is_constant_and_then_falls_to_zero():
    schedule = Schedule(1, 0, 0, constant_steps=100, decay_steps=200, num_steps=200)
    rate = jax.vmap(schedule.learning_rate(2e-4))(np.array([0, 50, 99, 100, 150, 175, 200, 300]))
    np.testing.assert_allclose(rate, [2e-4, 2e-4, 2e-4, 2e-4, 1e-4, 5e-5, 0, 0], atol=1e-10)


def test_the_last_step_still_learns():
    schedule = Schedule(1, 0, 0, constant_steps=100, decay_steps=200, num_steps=200)
    assert schedule.learning_rate(2e-4)(schedule.num_steps - 1) > 0
