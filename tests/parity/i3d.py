"""I3D and what it sees: our cases, and piergiaj/pytorch-i3d and TensorFlow on them."""

import functools
import importlib.util
import pathlib

import flax.linen as nn
import numpy as np
from flax import traverse_util

from sflow_jax.pretrained import i3d
from tests.parity import cases
from tests.random_weights import random_params

# Odd and even: SAME pads an even number of pixels before a stride of 2 unevenly.
TRUNK_SHAPE = (2, 17, 39, 50, 3)
HEAD_SHAPE = (2, 3, 7, 7, 1024)
CLIP_SHAPES = {"shrunk": (2, 3, 250, 310, 3), "enlarged": (2, 3, 64, 64, 3)}


class Trunk(nn.Module):
    """`i3d.trunk` with the variables of `I3D`."""

    @nn.compact
    def __call__(self, videos):
        return i3d.trunk(videos)


@functools.cache
def random_variables():
    """He-initialized kernels, batch-norm scales around 1, variances in 0.5 to 1.5."""
    shapes = i3d.conversion().shapes
    structure = {path: np.broadcast_to(np.float32(0), shape) for path, shape in shapes.items()}
    return random_params(traverse_util.unflatten_dict(structure, sep="/"))


def checkpoint():
    """The random weights under pytorch-i3d's keys."""
    flat = traverse_util.flatten_dict(random_variables(), sep="/")
    tensors = {}
    for path, key in i3d.conversion().keys.items():
        is_kernel = path.endswith("kernel")
        tensors[key] = np.transpose(flat[path], (4, 3, 0, 1, 2)) if is_kernel else flat[path]
    return {key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}


def tensorflow_checkpoint():
    """The random weights, but for the batch norms' scales, under DeepMind's names."""
    flat = traverse_util.flatten_dict(random_variables(), sep="/")
    return {name: flat[path] for path, name in i3d.tensorflow_conversion().keys.items()}


def videos(*shape):
    """What a network sees: float32 in [-1, 1]."""
    return np.tanh(cases.noise(*shape, seed=3))


def full_videos(num_frames):
    """One video of the network's size."""
    return videos(1, num_frames, i3d.SIDE, i3d.SIDE, 3)


def mixed_5c():
    """What the average pool sees: not negative, float32 [2, 3, 7, 7, 1024]."""
    return np.maximum(cases.noise(*HEAD_SHAPE, seed=4), 0)


def clips(shape):
    """Clips of noise, uint8."""
    return np.random.RandomState(5).randint(0, 256, shape).astype(np.uint8)


def reference_network(checkout, dtype):
    """pytorch-i3d's network with our random weights, for inference."""
    import torch

    spec = importlib.util.spec_from_file_location(
        "pytorch_i3d", pathlib.Path(checkout) / "pytorch_i3d.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network = module.InceptionI3d(i3d.CLASSES).to(dtype)
    tensors = {key: torch.from_numpy(tensor) for key, tensor in checkpoint().items()}
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert all(key.endswith(".num_batches_tracked") for key in missing)
    return network.eval()


def _run(function, network, x):
    """Applies a function of torch's [B, C, T, H, W] to [B, T, H, W, C]."""
    import torch

    dtype = next(network.parameters()).dtype
    with torch.no_grad():
        return function(torch.from_numpy(np.moveaxis(x, -1, 1).copy()).to(dtype))


def reference_trunk(network, x):
    """Mixed_5c, [B, T', H', W', 1024]."""

    def run(y):
        for name in network.VALID_ENDPOINTS:
            if name in network.end_points:
                y = network.end_points[name](y)
        return y

    return np.moveaxis(_run(run, network, x).numpy(), 1, -1)


def reference_head(network, x):
    """Logits averaged over time, [B, 400], of Mixed_5c."""
    y = _run(lambda y: network.logits(network.avg_pool(y)), network, x)
    return y.mean((2, 3, 4)).numpy()


def reference_logits(network, x):
    """Logits averaged over time, [B, 400]."""
    return _run(network, network, x).mean(2).numpy()


def tensorflow_input(x):
    """What the program of the Fréchet video distance shows I3D of clips."""
    import tensorflow as tf

    size = (i3d.SIDE, i3d.SIDE)
    frames = tf.compat.v1.image.resize_bilinear(x.reshape(-1, *x.shape[2:]), size)
    return (2.0 * frames / 255.0 - 1).numpy().reshape(*x.shape[:2], *size, 3)
