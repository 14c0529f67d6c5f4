"""Training on a clip frame by frame, in float64, to be compared with NVIDIA/vid2vid's.

Two frames are given and seven made, the last of which is the first one that both temporal
discriminators judge.
"""

import dataclasses
import functools
import typing

import jax
import jax.numpy as jnp
import numpy as np

from configs.baselines import vid2vid as configuration
from sflow_jax.methods.vid2vid import NUM_PREVIOUS, Clip, Vid2Vid
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.clip_step import learn_from_frame
from sflow_jax.training.state import TrainState
from tests.double_precision import double_precision, widen
from tests.fast_jit import fast_jit
from tests.parity import cases
from tests.random_weights import random_batch, random_state

SIZE = (32, 48)
NUM_FRAMES = 9
NUM_SCALES = 2  # of temporal discriminators
TEMPORAL = [f"discriminator_temporal_{scale}" for scale in range(NUM_SCALES)]
PLAYERS = ("generator", "discriminator_image", *TEMPORAL)


class Outcome(typing.NamedTuple):
    """What training on a frame gives.

    Attributes:
        losses: by our names.
        params: of every player after its update.
        gradients: of every player that has never learned before.
    """

    losses: dict
    params: dict
    gradients: dict


def recorded(outcomes):
    """What is stored of training: losses, first gradients, and updates by all frames, in rates."""
    before, rate = case().params, case().config.optimizer.learning_rate
    gradients = {
        player: cases.summaries(tree)
        for outcome in outcomes
        for player, tree in outcome.gradients.items()
    }
    updates = {
        player: cases.summaries(cases.relative_updates(before[player], after, rate))
        for player, after in outcomes[-1].params.items()
    }
    losses = [outcome.losses for outcome in outcomes]
    return {"losses": losses, "gradients": gradients, "updates": updates}


@dataclasses.dataclass(frozen=True)
class Case:
    """A clip, and what is to be trained on it; arrays are float64."""

    config: object
    method: Vid2Vid
    schedule: Schedule
    state: TrainState
    batch: dict
    clip: Clip

    @property
    def params(self):
        """Of every player before the first frame."""
        return _params(self.state)


@functools.cache
def case():
    """Small networks with random weights; each kind of loss has a weight of its own."""
    config = configuration.get_config("streets")
    config.vid2vid.first_frames = "given"
    config.vid2vid.num_temporal_scales = NUM_SCALES
    config.vid2vid.flow_weight, config.vid2vid.warp_weight = 7.0, 5.0
    config.data.frames = NUM_FRAMES
    config.generator.width, config.generator.num_downsamplings = 2, 1
    config.generator.num_blocks = 2
    config.discriminator.width, config.discriminator.num_scales = 2, 2
    config.discriminator.num_layers = 2
    config.loss.perceptual_weight, config.loss.feature_matching_weight = 0.0, 3.0
    config.augmentation.flip = False
    config.optimizer.learning_rate = 2.0**-12  # the schedule rounds it to float32
    config.train.compute_dtype = "float64"
    schedule = Schedule(1, 0, 0, 10, 20, 20)
    batch = _batch()
    with double_precision():
        method = Vid2Vid.from_config(config, cases.CLASSES, schedule)
        keys = jax.random.split(jax.random.key(0), 1)
        clip = jax.device_get(fast_jit(method.clip)(batch, keys))
        state = widen(random_state(method, config, schedule))
    return Case(config, method, schedule, state, batch, clip)


def _batch():
    """Waves of every color that move by a pixel or two per frame, under a little noise."""
    batch = random_batch(SIZE, 1, cases.NUM_CLASSES, num_frames=NUM_FRAMES)
    random = np.random.RandomState(0)
    time = np.arange(NUM_FRAMES)[:, None, None, None]
    y, x = np.arange(SIZE[0])[:, None, None] + 0.4 * time, np.arange(SIZE[1])[:, None] - 1.3 * time
    image = 127 + 8 * random.standard_normal((NUM_FRAMES, *SIZE, 3))
    for length in (7, 13, 29):
        angle, phase = random.uniform(0, 2 * np.pi, (2, 3))
        waves = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / length + phase)
        image = image + 25 * waves
    batch["image"] = image.round().clip(0, 255).astype(np.uint8)[None]
    columns = np.arange(SIZE[1], dtype=np.uint16)[:, None] // 7
    return batch | {"instance": batch["label"].astype(np.uint16) * 1000 + columns}


@functools.cache
def our_training():
    """The `Outcome` of every frame, by the package."""
    step, outcomes = case(), []
    with double_precision():
        moment_of = fast_jit(step.method.moment)
        learn = fast_jit(
            lambda state, moment: learn_from_frame(
                step.method, step.schedule, step.config, state, {}, moment, None
            )
        )
        state, memory = step.state, step.method.first_memory(step.clip)
        for time in range(NUM_PREVIOUS, NUM_FRAMES):
            moment = moment_of(step.clip, memory, jnp.asarray(time))
            state, generated, metrics = learn(state, moment)
            memory = step.method.remember(memory, time, generated)
            losses = {name: float(value) for name, value in metrics.items() if name != "l1"}
            params, gradients = jax.device_get((_params(state), _first_gradients(step, state)))
            outcomes.append(Outcome(losses, params, gradients))
    return outcomes


def _params(state):
    return state.params | state.discriminator_params


def _first_gradients(step, state):
    """Of the players that have learned once."""
    generator = cases.first_gradients([state.optimizer_state], step.config.optimizer.beta1)
    found = generator if state.optimizer_state.count == 1 else {}
    for player, adam in state.discriminator_optimizer_state.items():
        if adam.count == 1:
            found[player] = cases.first_gradients([adam], step.config.optimizer.beta1)
    return found
