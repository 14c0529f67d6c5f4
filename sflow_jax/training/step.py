"""One optimization step of any method: the game of eqs. 1 to 3 with the generator's own terms."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax

from sflow_jax import losses
from sflow_jax.losses import DiscriminatorOutput
from sflow_jax.methods.base import Batch, Params, Scalars, apply
from sflow_jax.methods.image_method import ImageMethod, Judged
from sflow_jax.ops import augment
from sflow_jax.ops.layout import in_row_major_layout
from sflow_jax.runs.schedule import Schedule
from sflow_jax.sharding import AXIS
from sflow_jax.training.initialize import starts_from_run
from sflow_jax.training.state import TrainState, create_optimizers

TrainStep = Callable[[TrainState, Params, Batch], tuple[TrainState, Scalars]]


def make_train_step(
    method: ImageMethod,
    schedule: Schedule,
    config: ml_collections.ConfigDict,
    axis_name: str | None = AXIS,
) -> TrainStep:
    """Builds the step of one device.

    Both players' losses precede both updates, as in pix2pixHD, or the generator plays against
    discriminators that are updated already, as in pix2pix: `config.train.order`. Each loss is
    written with its own passes of the networks; those that are equal XLA computes once.

    Args:
        method: networks, conditions and loss terms.
        schedule: stages and learning rate.
        config: the whole config.
        axis_name: the axis over which gradients are averaged; None for a single device.

    Returns:
        A pure function of (state, `method.frozen_params`, batch) that gives the next state and the
        metrics, averaged over all devices.
    """
    form = config.loss.adversarial

    def train_step(
        state: TrainState, frozen_params: Params, batch: Batch
    ) -> tuple[TrainState, Scalars]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        keys = augment.example_keys(key, len(batch["image"]), axis_name)
        scene = method.scene(batch, keys)

        def discriminate(
            params: Params, judged: Judged
        ) -> tuple[DiscriminatorOutput, DiscriminatorOutput]:
            real = apply(method.discriminator, params, judged.condition, judged.real)
            return real, apply(method.discriminator, params, judged.condition, judged.fake)

        def generator_loss(
            params: Params, discriminator_params: Params
        ) -> tuple[jax.Array, Scalars]:
            """The min over G and DNED: eq. 7, for pairs of frames eq. 9."""
            generated = method.generate(params, scene, state.step)
            judged = method.judged(scene, generated)
            scores = discriminate(discriminator_params, judged)
            terms, measures = method.terms(scene, generated, *scores, frozen_params)
            total = losses.total(terms.values())
            measures |= {"generator/total": total, "l1": losses.l1(judged.fake, judged.real)}
            return total, terms | measures

        def discriminator_loss(params: Params, judged: Judged) -> tuple[jax.Array, Scalars]:
            """The max over D of eqs. 2 and 3, as a loss."""
            real, fake = discriminate(params, judged)
            on_real, on_fake = losses.adversarial_discriminator(real, fake, form)
            return on_real + on_fake, {
                "discriminator/real": on_real,
                "discriminator/fake": on_fake,
                "discriminator/accuracy": losses.discriminator_accuracy(real, fake, form),
            }

        def mean_over_devices(x: Any) -> Any:
            return x if axis_name is None else jax.lax.pmean(x, axis_name)

        judged = method.judged(scene, method.generate(state.params, scene, state.step))
        discriminator_grads, discriminator_metrics = mean_over_devices(
            jax.grad(discriminator_loss, has_aux=True)(state.discriminator_params, judged)
        )
        updated = update_discriminator(state, discriminator_grads, schedule, config)
        opponent = updated if config.train.order == "discriminator_first" else state
        grads, metrics = mean_over_devices(
            jax.grad(generator_loss, has_aux=True)(state.params, opponent.discriminator_params)
        )
        metrics |= discriminator_metrics | _gradient_norms(grads, discriminator_grads)
        return update_generator(updated, grads, schedule, config), metrics

    return train_step


def update_discriminator(
    state: TrainState, grads: Params, schedule: Schedule, config: ml_collections.ConfigDict
) -> TrainState:
    """Applies the discriminators' optimizer; gradients are those of the whole batch."""
    _, optimizer = create_optimizers(config, schedule)
    grads = jax.tree.map(in_row_major_layout, grads)
    updates, optimizer_state = optimizer.update(grads, state.discriminator_optimizer_state)
    return dataclasses.replace(
        state,
        discriminator_params=optax.apply_updates(state.discriminator_params, updates),
        discriminator_optimizer_state=optimizer_state,
    )


def update_generator(
    state: TrainState, grads: Params, schedule: Schedule, config: ml_collections.ConfigDict
) -> TrainState:
    """Applies the generator's optimizer and moves the average, which ends the step."""
    optimizer, _ = create_optimizers(config, schedule)
    grads = jax.tree.map(in_row_major_layout, grads)
    updates, optimizer_state = optimizer.update(grads, state.optimizer_state)
    params = optax.apply_updates(state.params, updates)
    return dataclasses.replace(
        state,
        step=state.step + 1,
        params=params,
        optimizer_state=optimizer_state,
        ema_params=moved_average(state, params, config),
    )


def moved_average(state: TrainState, params: Params, config: ml_collections.ConfigDict) -> Params:
    """The average of parameters after the step from `state` to `params`."""
    decay = config.optimizer.ema_decay
    if not starts_from_run(config):
        # The usual warm-up: a long average would keep the random start for thousands of steps. Of
        # another run's average it would keep nothing.
        step = state.step.astype(jnp.float32)
        decay = jnp.minimum(decay, (1 + step) / (10 + step))
    return optax.incremental_update(params, state.ema_params, 1 - decay)


def _gradient_norms(grads: dict[str, Params], discriminator_grads: Params) -> Scalars:
    norms = {f"gradient_norm/{name}": optax.tree.norm(part) for name, part in grads.items()}
    return norms | {"gradient_norm/discriminator": optax.tree.norm(discriminator_grads)}
