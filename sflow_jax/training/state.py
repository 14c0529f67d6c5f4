"""The state that training changes."""

import functools

import flax.struct
import jax
import jax.numpy as jnp
import ml_collections
import optax

from sflow_jax import sharding
from sflow_jax.methods.base import Method, Params
from sflow_jax.runs.schedule import Schedule


@flax.struct.dataclass
class TrainState:
    """All that a checkpoint holds of the networks.

    Attributes:
        step: int32 scalar, optimization steps done.
        params: of the generator's player, by network, updated by one optimizer (eq. 7's min over
            G).
        discriminator_params: updated by the other (the max over D).
        optimizer_state: of the generator's player.
        discriminator_optimizer_state: of the discriminators.
        ema_params: moving average of `params`, which sampling and evaluation use.
    """

    step: jax.Array
    params: Params
    discriminator_params: Params
    optimizer_state: optax.OptState
    discriminator_optimizer_state: optax.OptState
    ema_params: Params


def create_optimizers(
    config: ml_collections.ConfigDict, schedule: Schedule
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Adam for the generator's player, and Adam for the discriminators."""
    options = config.optimizer
    learning_rate = schedule.learning_rate(options.learning_rate)
    optimizer = optax.adam(learning_rate, b1=options.beta1, b2=options.beta2)
    return optimizer, optimizer


def create_clip_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
    """Adam without its learning rate, for methods that update several times in a step."""
    return optax.scale_by_adam(b1=config.optimizer.beta1, b2=config.optimizer.beta2)


def initial_optimizer_states(
    method: Method,
    config: ml_collections.ConfigDict,
    schedule: Schedule,
    params: Params,
    discriminator_params: Params,
) -> tuple[optax.OptState, optax.OptState]:
    """Those of the generator's player and of the discriminators, before the first step."""
    if method.remembers:  # its discriminators learn each by itself
        init = create_clip_optimizer(config).init
        return init(params), {name: init(part) for name, part in discriminator_params.items()}
    optimizer, discriminator_optimizer = create_optimizers(config, schedule)
    return optimizer.init(params), discriminator_optimizer.init(discriminator_params)


def initial_state(
    method: Method, config: ml_collections.ConfigDict, schedule: Schedule
) -> TrainState:
    """The state before the first step, drawn from `config.seed`, as a function to trace."""
    params, discriminator_params = method.init(jax.random.key(config.seed))
    optimizer_state, discriminator_optimizer_state = initial_optimizer_states(
        method, config, schedule, params, discriminator_params
    )
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        discriminator_params=discriminator_params,
        optimizer_state=optimizer_state,
        discriminator_optimizer_state=discriminator_optimizer_state,
        ema_params=jax.tree.map(jnp.copy, params),
    )


def create_state(
    method: Method, config: ml_collections.ConfigDict, schedule: Schedule
) -> TrainState:
    """The state before the first step, on the device."""
    # It runs once, so compile it fast: XLA takes 19 s on a CPU with optimization, 4 s without.
    is_cpu = jax.default_backend() == "cpu"
    options = {"xla_backend_optimization_level": 0} if is_cpu else None
    create = jax.jit(
        functools.partial(initial_state, method, config, schedule), compiler_options=options
    )
    return create()


def describe_state(
    method: Method, config: ml_collections.ConfigDict, schedule: Schedule
) -> TrainState:
    """Shapes, types and placement of `create_state`'s arrays, without compiling anything."""
    shapes = jax.eval_shape(functools.partial(initial_state, method, config, schedule))
    return sharding.describe_saved(shapes)
