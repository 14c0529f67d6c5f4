"""One optimization step: eqs. 1 to 7, and for pairs of frames eqs. 8 and 9."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax.experimental.layout import Layout, with_layout_constraint

from sflow_jax import losses
from sflow_jax.losses import DiscriminatorOutput
from sflow_jax.models.dned import combine
from sflow_jax.ops import augment
from sflow_jax.pretrained.perceptual import PerceptualNetwork
from sflow_jax.training.initialize import starts_from_run
from sflow_jax.training.scene import Batch, Scene, generator_condition, prepare_scene
from sflow_jax.training.schedule import Schedule
from sflow_jax.training.state import Networks, Params, TrainState, create_optimizers
from sflow_jax.training.video import flow_terms

AXIS = "batch"

Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, Params, Batch], tuple[TrainState, Metrics]]
GeneratorOutput = tuple[jax.Array, list[jax.Array], jax.Array]


def make_train_step(
    networks: Networks,
    perceptual_network: PerceptualNetwork | None,
    schedule: Schedule,
    config: ml_collections.ConfigDict,
    axis_name: str | None = AXIS,
) -> TrainStep:
    """Builds the step of one device.

    Args:
        networks: generator, DNED and discriminators.
        perceptual_network: the frozen network of eq. 6, or None where its weight is 0.
        schedule: stages and learning rate.
        config: the whole config.
        axis_name: the axis over which gradients are averaged; None for a single device.

    Returns:
        A pure function of (state, parameters of the perceptual network, batch) that gives the next
        state and the metrics, averaged over all devices.
    """
    discriminator_objective = make_discriminator_objective(config)
    generator_objective = make_generator_objective(perceptual_network, config)

    def train_step(
        state: TrainState, perceptual_params: Params, batch: Batch
    ) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(jax.random.key(config.seed), state.step)
        keys = augment.example_keys(key, len(batch["image"]), axis_name)
        scene = prepare_scene(batch, keys, networks.num_classes, config)
        dned_share = schedule.dned_share(state.step)

        def generate(params: Params) -> GeneratorOutput:
            return forward_generator(networks, params, scene, dned_share, config)

        (fake, side_outputs, edge_map), generate_vjp = jax.vjp(generate, state.params)
        seen = scene.label_map
        if config.discriminator.sees_edges:
            seen = jnp.concatenate([seen, jax.lax.stop_gradient(edge_map)], -1)

        def discriminate(params: Params, image: jax.Array) -> DiscriminatorOutput:
            return networks.discriminator.apply(params, seen, image)

        # One forward pass for each kind of image. The pullback of the fake one serves both players:
        # to the parameters for the discriminators, to the image for the generator.
        real_scores, real_vjp = jax.vjp(
            lambda params: discriminate(params, scene.image), state.discriminator_params
        )
        fake_scores, fake_vjp = jax.vjp(discriminate, state.discriminator_params, fake)

        (to_real, to_fake), metrics = jax.grad(
            discriminator_objective, argnums=(0, 1), has_aux=True
        )(real_scores, fake_scores)
        discriminator_grads = jax.tree.map(jnp.add, *real_vjp(to_real), fake_vjp(to_fake)[0])

        (to_image, to_sides, to_scores), (terms, measures) = jax.grad(
            generator_objective, argnums=(0, 1, 2), has_aux=True
        )(fake, side_outputs, fake_scores, real_scores, scene, perceptual_params)
        to_image = to_image + fake_vjp(to_scores)[1]
        (grads,) = generate_vjp((to_image, to_sides, jnp.zeros_like(edge_map)))

        metrics |= terms | measures
        metrics |= {
            "generator/total": sum(terms.values()),
            "l1": losses.l1(fake, scene.image),
            "edge_density": scene.edge_map.mean(),
        }
        if axis_name is not None:
            grads, discriminator_grads, metrics = jax.lax.pmean(
                (grads, discriminator_grads, metrics), axis_name
            )
        metrics |= _gradient_norms(grads, discriminator_grads) | {"dned_share": dned_share}
        return update_state(state, grads, discriminator_grads, schedule, config), metrics

    return train_step


def forward_generator(
    networks: Networks,
    params: Params,
    scene: Scene,
    dned_share: jax.Array,
    config: ml_collections.ConfigDict,
) -> GeneratorOutput:
    """Draws the edges and generates the images of a scene.

    Returns:
        G(s, e) [B, H, W, 3]; DNED's side outputs; the edge map e that the generator saw, of which
        `dned_share` is DNED's and the rest is the Laplacian's.
    """
    side_outputs = networks.dned.apply(params["dned"], scene.dned_input)
    edge_map = scene.edge_map
    if config.generator.edges == "dned":
        drawn = combine(side_outputs, jnp.asarray(config.loss.side_weights))
        if config.dned.stop_gradient:
            drawn = jax.lax.stop_gradient(drawn)
        edge_map = dned_share * drawn + (1 - dned_share) * scene.edge_map
    condition = generator_condition(scene.label_map, edge_map, config)
    return networks.generator.apply(params["generator"], condition), side_outputs, edge_map


def make_discriminator_objective(
    config: ml_collections.ConfigDict,
) -> Callable[..., tuple[jax.Array, Metrics]]:
    """Eqs. 3 and 7 as the discriminators minimize them: a function of their two outputs."""
    form = config.loss.adversarial

    def objective(
        real: DiscriminatorOutput, fake: DiscriminatorOutput
    ) -> tuple[jax.Array, Metrics]:
        on_real, on_fake = losses.adversarial_discriminator(real, fake, form)
        return on_real + on_fake, {
            "discriminator/real": on_real,
            "discriminator/fake": on_fake,
            "discriminator/accuracy": losses.discriminator_accuracy(real, fake, form),
        }

    return objective


def make_generator_objective(
    perceptual_network: PerceptualNetwork | None, config: ml_collections.ConfigDict
) -> Callable[..., tuple[jax.Array, tuple[Metrics, Metrics]]]:
    """Eqs. 7 and 9 as the generator and DNED minimize them.

    Beside the loss it gives its weighted terms, and measures that are not part of it, by name.
    """
    weights = config.loss

    def objective(
        fake: jax.Array,
        side_outputs: list[jax.Array],
        fake_scores: DiscriminatorOutput,
        real_scores: DiscriminatorOutput,
        scene: Scene,
        perceptual_params: Params,
    ) -> tuple[jax.Array, tuple[Metrics, Metrics]]:
        measures = {}
        terms = {
            "generator/adversarial": losses.adversarial_generator(fake_scores, weights.adversarial),
            "generator/feature_matching": weights.feature_matching_weight
            * losses.feature_matching(real_scores, fake_scores, weights.feature_weighting),
            "generator/dned": weights.dned_weight
            * losses.edge_bce(
                side_outputs, scene.edge_map, weights.side_weights, config.dned.balanced
            ),
        }
        if scene.flow is not None:
            temporal_terms, measures = flow_terms(fake, scene, config)
            terms |= temporal_terms
        if perceptual_network is not None:
            terms["generator/perceptual"] = weights.perceptual_weight * losses.perceptual(
                perceptual_network.features(perceptual_params, scene.image),
                perceptual_network.features(perceptual_params, fake),
                weights.perceptual_weighting,
            )
        return sum(terms.values()), (terms, measures)

    return objective


def update_state(
    state: TrainState,
    grads: Params,
    discriminator_grads: Params,
    schedule: Schedule,
    config: ml_collections.ConfigDict,
) -> TrainState:
    """Applies both optimizers and moves the average; gradients are those of the whole batch."""
    grads, discriminator_grads = jax.tree.map(_as_stored, (grads, discriminator_grads))
    optimizer, discriminator_optimizer = create_optimizers(config, schedule)
    updates, optimizer_state = optimizer.update(grads, state.optimizer_state)
    params = optax.apply_updates(state.params, updates)
    discriminator_updates, discriminator_optimizer_state = discriminator_optimizer.update(
        discriminator_grads, state.discriminator_optimizer_state
    )
    decay = config.optimizer.ema_decay
    if not starts_from_run(config):
        # The usual warm-up: a long average would keep the random start for thousands of steps. Of
        # another run's average it would keep nothing.
        step = state.step.astype(jnp.float32)
        decay = jnp.minimum(decay, (1 + step) / (10 + step))
    return TrainState(
        step=state.step + 1,
        params=params,
        discriminator_params=optax.apply_updates(state.discriminator_params, discriminator_updates),
        optimizer_state=optimizer_state,
        discriminator_optimizer_state=discriminator_optimizer_state,
        ema_params=optax.incremental_update(params, state.ema_params, 1 - decay),
    )


def _as_stored(gradient: jax.Array) -> jax.Array:
    """The gradient in the memory layout of its parameter.

    A GPU's library gives kernel gradients in another one. XLA would compute the whole update in
    that, and copy parameters, moments and average there and back.
    """
    return with_layout_constraint(gradient, Layout(tuple(range(gradient.ndim))))


def _gradient_norms(grads: dict[str, Any], discriminator_grads: Params) -> Metrics:
    norms = {f"gradient_norm/{name}": optax.tree.norm(part) for name, part in grads.items()}
    return norms | {"gradient_norm/discriminator": optax.tree.norm(discriminator_grads)}
