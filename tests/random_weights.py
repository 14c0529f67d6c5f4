"""Weights that are the same on every machine, in every framework and without compilation."""

import functools
import zlib

import jax
import numpy as np
from flax import traverse_util

from sflow_jax.training.state import TrainState, initial_optimizer_states

# Gray levels of 8-bit images are multiples of 0.001 / 255; a threshold half-way between two of them
# keeps rounding from deciding about a pixel. It marks a fifth of the pixels of `random_batch`.
EDGE_THRESHOLD = 255.0005 / 255


def random_params(shapes, seed=0):
    """He-initialized parameters of a tree of shapes, each drawn from its path and the seed.

    RandomState never changes its stream, so golden values outlive releases of NumPy and JAX.
    """
    params = {}
    for path, leaf in traverse_util.flatten_dict(shapes, sep="/").items():
        random = np.random.RandomState(zlib.crc32(f"{seed}/{path}".encode()))
        values = random.standard_normal(leaf.shape)
        if path.endswith("kernel"):
            values *= np.sqrt(2 / np.prod(leaf.shape[:-1]))
        elif path.endswith("/scale"):
            values = 1 + 0.1 * values
        elif path.endswith("/var"):
            values = random.uniform(0.5, 1.5, leaf.shape)
        else:
            values *= 0.1
        params[path] = values.astype(np.float32)
    return traverse_util.unflatten_dict(params, sep="/")


def init_random(module, *inputs, seed=0):
    """Random parameters for a module that is called with arrays like `inputs`."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return random_params(shapes, seed)


def random_state(method, config, schedule, seed=0):
    """The train state before the first step, with random parameters."""
    shapes, discriminator_shapes = jax.eval_shape(method.init, jax.random.key(0))
    params = random_params(shapes, seed)
    discriminator_params = random_params(discriminator_shapes, seed + 1)
    optimizer_state, discriminator_optimizer_state = zeros(
        functools.partial(initial_optimizer_states, method, config, schedule),
        params,
        discriminator_params,
    )
    return TrainState(
        step=np.zeros((), np.int32),
        params=params,
        discriminator_params=discriminator_params,
        optimizer_state=optimizer_state,
        discriminator_optimizer_state=discriminator_optimizer_state,
        ema_params=jax.tree.map(np.copy, params),
    )


def zeros(function, *arguments):
    """What a function of arrays returns, all zero; it is not run."""
    shapes = jax.eval_shape(function, *arguments)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def random_batch(size, batch_size=1, num_classes=5, seed=0, num_frames=1):
    """A stored batch as the data pipeline gives it: noise, and labels in blocks of 4x4 pixels."""
    random = np.random.RandomState(seed)
    height, width = size
    frames = (batch_size, num_frames)
    cells = random.randint(0, num_classes, (*frames, -(-height // 4), -(-width // 4), 1))
    label = cells.repeat(4, 2).repeat(4, 3)[:, :, :height, :width]
    batch = {
        "image": random.randint(0, 256, (*frames, height, width, 3)).astype(np.uint8),
        "label": label.astype(np.uint8),
    }
    if num_frames == 2:
        flow = random.normal(0, 2, (batch_size, height, width, 2))
        batch["flow"] = flow.astype(np.float16)
    return batch
