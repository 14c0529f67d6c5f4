"""The networks of a run and the state that training changes."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import optax

from sflow_jax.models.discriminator import MultiScaleDiscriminator
from sflow_jax.models.dned import DNED
from sflow_jax.models.generator import GlobalGenerator, LocalEnhancer
from sflow_jax.training.schedule import Schedule

Params = Any


@dataclasses.dataclass(frozen=True)
class Networks:
    """The three networks of eq. 7, without parameters.

    Attributes:
        generator: G(s, e), condition [B, H, W, C] to images [B, H, W, 3].
        dned: the edge detector; `generator.edges = 'dned'` only decides what the generator sees.
        discriminator: D_k(s, x).
        num_classes: channels of the one-hot label map.
    """

    generator: nn.Module
    dned: DNED
    discriminator: MultiScaleDiscriminator
    num_classes: int


@flax.struct.dataclass
class TrainState:
    """All that a checkpoint holds of the networks.

    Attributes:
        step: int32 scalar, optimization steps done.
        params: `{'generator': ..., 'dned': ...}`, updated by one optimizer (eq. 7's min over G).
        discriminator_params: updated by the other (the max over D).
        optimizer_state: of the generator and DNED.
        discriminator_optimizer_state: of the discriminators.
        ema_params: moving average of `params`, which sampling and evaluation use.
    """

    step: jax.Array
    params: Params
    discriminator_params: Params
    optimizer_state: optax.OptState
    discriminator_optimizer_state: optax.OptState
    ema_params: Params


def create_networks(config: ml_collections.ConfigDict, num_classes: int) -> Networks:
    """Builds the networks that a config describes.

    Args:
        config: the whole config.
        num_classes: channels of the one-hot label map, from the dataset's class table.
    """
    dtype = jnp.dtype(config.train.compute_dtype)
    generator = config.generator
    sizes = {
        "width": generator.width,
        "num_downsamplings": generator.num_downsamplings,
        "num_blocks": generator.num_blocks,
        "dtype": dtype,
        "remat": generator.remat,
        "num_labels": 0 if generator.edges == "none" else num_classes,
    }
    return Networks(
        generator=LocalEnhancer(num_local_blocks=generator.num_local_blocks, **sizes)
        if generator.kind == "local"
        else GlobalGenerator(**sizes),
        dned=DNED(config.dned.width, dtype),
        discriminator=MultiScaleDiscriminator(
            config.discriminator.num_scales,
            config.discriminator.width,
            config.discriminator.num_layers,
            dtype,
        ),
        num_classes=num_classes,
    )


def create_optimizers(
    config: ml_collections.ConfigDict, schedule: Schedule
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Adam for the generator with DNED, and Adam for the discriminators."""
    options = config.optimizer
    learning_rate = schedule.learning_rate(options.learning_rate)
    optimizer = optax.adam(learning_rate, b1=options.beta1, b2=options.beta2)
    return optimizer, optimizer


def init_params(networks: Networks, config: ml_collections.ConfigDict) -> tuple[Params, Params]:
    """Draws the parameters from `config.seed`: `params` and `discriminator_params`."""
    # Parameters do not depend on the image size, so a small one saves time and memory.
    size = (1, 64, 64)
    keys = jax.random.split(jax.random.key(config.seed), 3)
    label_map = jnp.zeros((*size, networks.num_classes))
    edge_map = jnp.zeros((*size, 1))
    with_edges = jnp.concatenate([label_map, edge_map], -1)
    generator_input = label_map if config.generator.edges == "none" else with_edges
    seen = with_edges if config.discriminator.sees_edges else label_map
    dned_input = jnp.zeros((*size, 3 if config.dned.input == "rgb" else 1))
    params = {
        "generator": networks.generator.init(keys[0], generator_input),
        "dned": networks.dned.init(keys[1], dned_input),
    }
    return params, networks.discriminator.init(keys[2], seen, jnp.zeros((*size, 3)))


def initial_state(
    networks: Networks, config: ml_collections.ConfigDict, schedule: Schedule
) -> TrainState:
    """The state before the first step, as a function to trace."""
    optimizer, discriminator_optimizer = create_optimizers(config, schedule)
    params, discriminator_params = init_params(networks, config)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        discriminator_params=discriminator_params,
        optimizer_state=optimizer.init(params),
        discriminator_optimizer_state=discriminator_optimizer.init(discriminator_params),
        ema_params=jax.tree.map(jnp.copy, params),
    )


def create_state(
    networks: Networks, config: ml_collections.ConfigDict, schedule: Schedule
) -> TrainState:
    """The state before the first step, on the device."""
    # It runs once, so compile it fast: XLA takes 19 s on a CPU with optimization, 4 s without.
    is_cpu = jax.default_backend() == "cpu"
    options = {"xla_backend_optimization_level": 0} if is_cpu else None
    create = jax.jit(
        functools.partial(initial_state, networks, config, schedule), compiler_options=options
    )
    return create()


def describe_state(
    networks: Networks, config: ml_collections.ConfigDict, schedule: Schedule
) -> TrainState:
    """Shapes, types and placement of `create_state`'s arrays, without compiling anything."""
    shapes = jax.eval_shape(functools.partial(initial_state, networks, config, schedule))
    placement = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=placement), shapes
    )
