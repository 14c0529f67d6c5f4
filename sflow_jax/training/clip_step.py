"""One optimization step of a method that makes a frame from those before: a batch of clips.

Both players learn after every frame, as in vid2vid. The host goes from frame to frame: clips may
get longer while training goes on, and nothing is compiled anew. (XLA could loop, too, but compiles
the convolutions of loops so badly for a CPU that they take twenty times as long.)
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from sflow_jax import losses
from sflow_jax.losses import DiscriminatorOutput
from sflow_jax.methods.base import Batch, Params, Scalars, apply
from sflow_jax.methods.clip_method import ClipMethod, GeneratedT, Memory, MomentT
from sflow_jax.methods.image_method import Judged
from sflow_jax.ops import augment
from sflow_jax.ops.layout import in_row_major_layout
from sflow_jax.runs.schedule import Schedule
from sflow_jax.sharding import AXIS
from sflow_jax.training.state import TrainState, create_clip_optimizer
from sflow_jax.training.step import TrainStep, moved_average

Scores = dict[str, DiscriminatorOutput]


class ClipStep:
    """Trains on whole clips; a function of (state, `method.frozen_params`, batch).

    The batch is [devices, batch, ...], the rest is replicated, and so are the next state and the
    metrics that it gives: the mean over the frames that were made and over all devices.
    """

    def __init__(
        self,
        method: ClipMethod,
        schedule: Schedule,
        config: ml_collections.ConfigDict,
        devices: list[jax.Device] | None = None,
    ) -> None:
        """Compiles nothing yet.

        Args:
            method: networks, conditions and loss terms.
            schedule: learning rate.
            config: the whole config.
            devices: all local devices by default.
        """
        self._method = method
        options: dict[str, Any] = {"axis_name": AXIS, "devices": devices}

        def begin(step: jax.Array, batch: Batch) -> tuple[Any, Memory]:
            return _begin(method, config, step, batch, AXIS)

        def learn(
            state: TrainState,
            memory: Memory,
            frozen_params: Params,
            clip: Any,
            time: jax.Array,
            is_last: jax.Array,
        ) -> tuple[TrainState, Memory, Scalars]:
            moment = method.moment(clip, memory, time)
            state, generated, metrics = learn_from_frame(
                method, schedule, config, state, frozen_params, moment, AXIS
            )
            state = dataclasses.replace(state, step=state.step + is_last)
            return state, method.remember(memory, time, generated), metrics

        self._begin = jax.pmap(begin, in_axes=(None, 0), **options)
        self._learn = jax.pmap(
            learn,
            in_axes=(None, 0, None, 0, None, None),
            out_axes=(None, 0, None),
            donate_argnums=(0, 1),
            **options,
        )

    def __call__(
        self, state: TrainState, frozen_params: Params, batch: Batch
    ) -> tuple[TrainState, Scalars]:
        """Trains on a batch of clips; takes over the memory of the state that it is given."""
        clip, memory = self._begin(state.step, batch)
        first, end = self._method.frames_to_make(int(state.step))
        metrics = []
        for time in range(first, end):
            is_last = np.int32(time == end - 1)
            state, memory, of_frame = self._learn(
                state, memory, frozen_params, clip, np.int32(time), is_last
            )
            metrics.append(of_frame)
        # On the host: arithmetic here would be a program of its own on all devices.
        frames = jax.device_get(metrics)
        return state, {name: np.mean([frame[name] for frame in frames]) for name in frames[0]}


def make_frame_step(
    method: ClipMethod,
    schedule: Schedule,
    config: ml_collections.ConfigDict,
    axis_name: str | None = AXIS,
) -> TrainStep:
    """A step that makes one frame of each clip, to be measured; arguments as for `ClipStep`."""

    def frame_step(
        state: TrainState, frozen_params: Params, batch: Batch
    ) -> tuple[TrainState, Scalars]:
        clip, memory = _begin(method, config, state.step, batch, axis_name)
        first, _ = method.frames_to_make(0)
        moment = method.moment(clip, memory, jnp.asarray(first))
        state, _, metrics = learn_from_frame(
            method, schedule, config, state, frozen_params, moment, axis_name
        )
        return dataclasses.replace(state, step=state.step + 1), metrics

    return frame_step


def _begin(
    method: ClipMethod,
    config: ml_collections.ConfigDict,
    step: jax.Array,
    batch: Batch,
    axis_name: str | None,
) -> tuple[Any, Memory]:
    """The clips of a step, and what is known before their first frame."""
    key = jax.random.fold_in(jax.random.key(config.seed), step)
    clip = method.clip(batch, augment.example_keys(key, len(batch["image"]), axis_name))
    return clip, method.first_memory(clip)


def learn_from_frame(
    method: ClipMethod[Any, MomentT, GeneratedT],
    schedule: Schedule,
    config: ml_collections.ConfigDict,
    state: TrainState,
    frozen_params: Params,
    moment: MomentT,
    axis_name: str | None = AXIS,
) -> tuple[TrainState, GeneratedT, Scalars]:
    """Both players learn from a frame; both losses precede both updates.

    Args:
        method: networks, conditions and loss terms.
        schedule: learning rate.
        config: the whole config.
        state: before the frame.
        frozen_params: `method.frozen_params`.
        moment: of the frame.
        axis_name: the axis over which gradients are averaged; None for a single device.

    Returns:
        The state after it, but for the number of steps; the frame; and the metrics.
    """
    shares = method.shares(moment)

    def discriminate(params: Params, judged: Mapping[str, Judged]) -> tuple[Scores, Scores]:
        networks, real, fake = method.discriminators, {}, {}
        for name, one in judged.items():
            real[name] = apply(networks[name], params[name], one.condition, one.real)
            fake[name] = apply(networks[name], params[name], one.condition, one.fake)
        return real, fake

    def generator_loss(params: Params) -> tuple[jax.Array, tuple[GeneratedT, Scalars]]:
        generated = method.generate(params, moment)
        scores = discriminate(state.discriminator_params, method.judged(moment, generated))
        terms, measures = method.terms(moment, generated, *scores, frozen_params)
        total = losses.total(terms.values())
        return total, (generated, terms | measures | {"generator/total": total})

    def discriminator_loss(
        params: Params, judged: Mapping[str, Judged]
    ) -> tuple[jax.Array, Scalars]:
        terms: Scalars = {}
        real, fake = discriminate(params, judged)
        for name, share in shares.items():
            pair = losses.adversarial_discriminator(real[name], fake[name], config.loss.adversarial)
            terms[f"{name}/real"], terms[f"{name}/fake"] = (share * loss for loss in pair)
        return losses.total(terms.values()), terms

    def mean_over_devices(x: Any) -> Any:
        return x if axis_name is None else jax.lax.pmean(x, axis_name)

    grads, (generated, metrics) = jax.grad(generator_loss, has_aux=True)(state.params)
    discriminator_grads, terms = jax.grad(discriminator_loss, has_aux=True)(
        state.discriminator_params, method.judged(moment, generated)
    )
    grads, discriminator_grads, metrics = mean_over_devices(
        (grads, discriminator_grads, metrics | terms)
    )
    rates = learning_rates(method, schedule, config, state.step)
    state = _update_discriminators(state, discriminator_grads, shares, rates, config)
    state = _update_generator(state, grads, rates["generator"], config)
    return state, generated, metrics


def learning_rates(
    method: ClipMethod, schedule: Schedule, config: ml_collections.ConfigDict, step: jax.Array
) -> dict[str, float | jax.Array]:
    """The learning rate of 'generator' and of each discriminator at a step."""
    peak = config.optimizer.learning_rate
    rate = schedule.learning_rate(peak)(step)
    rates = {name: rate if method.decays(name) else peak for name in method.discriminators}
    return {"generator": rate, **rates}


def _update_discriminators(
    state: TrainState,
    grads: Params,
    shares: Mapping[str, float | jax.Array],
    rates: Mapping[str, float | jax.Array],
    config: ml_collections.ConfigDict,
) -> TrainState:
    """Lets the discriminators learn that had something to judge; gradients are of all devices."""
    params = dict(state.discriminator_params)
    optimizer_states = dict(state.discriminator_optimizer_state)
    for name, share in shares.items():
        before = params[name], optimizer_states[name]
        after = _descend(grads[name], *before, rates[name], config)
        has_judged = jnp.asarray(share) > 0
        params[name], optimizer_states[name] = jax.tree.map(
            lambda new, old, has_judged=has_judged: jnp.where(has_judged, new, old), after, before
        )
    return dataclasses.replace(
        state, discriminator_params=params, discriminator_optimizer_state=optimizer_states
    )


def _update_generator(
    state: TrainState, grads: Params, rate: float | jax.Array, config: ml_collections.ConfigDict
) -> TrainState:
    params, optimizer_state = _descend(grads, state.params, state.optimizer_state, rate, config)
    return dataclasses.replace(
        state,
        params=params,
        optimizer_state=optimizer_state,
        ema_params=moved_average(state, params, config),
    )


def _descend(
    grads: Params,
    params: Params,
    optimizer_state: optax.OptState,
    rate: float | jax.Array,
    config: ml_collections.ConfigDict,
) -> tuple[Params, optax.OptState]:
    grads = jax.tree.map(in_row_major_layout, grads)
    updates, optimizer_state = create_clip_optimizer(config).update(grads, optimizer_state)
    updates = jax.tree.map(lambda update: -rate * update, updates)
    return optax.apply_updates(params, updates), optimizer_state
