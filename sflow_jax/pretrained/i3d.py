"""I3D, the video network of the Fréchet video distance: RGB, trained on Kinetics-400.

Carreira and Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset"
(2017): Inception-v1 with kernels inflated in time. The weights are DeepMind's, from their own
TensorFlow checkpoint or from pytorch-i3d's conversion of it; modules have the latter's names. All
padding is TensorFlow's SAME: the odd pixel goes behind.
"""

import functools
import os
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from sflow_jax import variables
from sflow_jax.errors import InputError
from sflow_jax.models.layers import Conv
from sflow_jax.pretrained import conversion as conversions
from sflow_jax.pretrained import weights

SIDE = 224
MIN_FRAMES = 9  # two after three halvings, the window of the average pool
CLASSES = 400

_EPSILON = 1e-3

# Channels of the units b0, b1a, b1b, b2a, b2b and b3b.
_BLOCKS = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}

# The max pools before some of the blocks: window and stride as [time, height, width].
_POOLS = {
    "Mixed_3b": ((1, 3, 3), (1, 2, 2)),
    "Mixed_4b": ((3, 3, 3), (2, 2, 2)),
    "Mixed_5b": ((2, 2, 2), (2, 2, 2)),
}

_TENSORFLOW_UNITS = {
    "b0": "Branch_0/Conv3d_0a_1x1",
    "b1a": "Branch_1/Conv3d_0a_1x1",
    "b1b": "Branch_1/Conv3d_0b_3x3",
    "b2a": "Branch_2/Conv3d_0a_1x1",
    "b2b": "Branch_2/Conv3d_0b_3x3",
    "b3b": "Branch_3/Conv3d_0b_1x1",
    "logits": "Logits/Conv3d_0c_1x1",
}

# DeepMind's code has a slip of the pen in one name, and so has the checkpoint.
_TENSORFLOW_SLIPS = {"Mixed_5b/Branch_2/Conv3d_0b_3x3": "Mixed_5b/Branch_2/Conv3d_0a_3x3"}

_TENSORFLOW_LEAVES = {
    "conv3d/kernel": "conv_3d/w",
    "conv3d/bias": "conv_3d/b",
    "bn/bias": "batch_norm/beta",
    "bn/mean": "batch_norm/moving_mean",
    "bn/var": "batch_norm/moving_variance",
}


def _convolution(channels: int, side: int = 1, stride: int = 1, use_bias: bool = False) -> nn.Conv:
    return Conv(
        channels,
        (side,) * 3,
        stride,
        "SAME",
        use_bias=use_bias,
        precision="highest",  # GPU and TPU would multiply in a coarser type
        name="conv3d",
    )


class _Unit(nn.Module):
    """Convolution without bias, batch norm with stored statistics, ReLU."""

    channels: int
    side: int = 1
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = _convolution(self.channels, self.side, self.stride)(x)
        return nn.relu(nn.BatchNorm(True, epsilon=_EPSILON, name="bn")(x))


class _Classifier(nn.Module):
    """The last unit: a bias in place of batch norm and ReLU."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return _convolution(CLASSES, use_bias=True)(x)


def _max_pool(x: jax.Array, window: tuple[int, ...], stride: tuple[int, ...]) -> jax.Array:
    return nn.max_pool(x, window, stride, "SAME")  # pads with -inf, which never wins


def _average_pool(x: jax.Array) -> jax.Array:
    return nn.avg_pool(x, (2, 7, 7), (1, 1, 1), "VALID")


class _Block(nn.Module):
    """Four parallel branches: 1x1, twice 1x1 and 3x3, pool and 1x1."""

    channels: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b0, b1a, b1b, b2a, b2b, b3b = self.channels
        branches = (
            _Unit(b0, name="b0")(x),
            _Unit(b1b, 3, name="b1b")(_Unit(b1a, name="b1a")(x)),
            _Unit(b2b, 3, name="b2b")(_Unit(b2a, name="b2a")(x)),
            _Unit(b3b, name="b3b")(_max_pool(x, (3, 3, 3), (1, 1, 1))),
        )
        return jnp.concatenate(branches, axis=-1)


def trunk(videos: jax.Array) -> jax.Array:
    """The part of I3D that takes any size; for use inside a module.

    Args:
        videos: float32 [B, T, H, W, 3].

    Returns:
        Mixed_5c, float32 [B, T/8, H/32, W/32, 1024], rounded up.
    """
    x = _Unit(64, 7, 2, name="Conv3d_1a_7x7")(videos)
    x = _max_pool(x, (1, 3, 3), (1, 2, 2))
    x = _Unit(64, name="Conv3d_2b_1x1")(x)
    x = _Unit(192, 3, name="Conv3d_2c_3x3")(x)
    for name, channels in _BLOCKS.items():
        if name in _POOLS:
            x = _max_pool(x, *_POOLS[name])
        x = _Block(channels, name=name)(x)
    return x


class I3D(nn.Module):
    """The logits of Kinetics-400's classes, averaged over time."""

    @nn.compact
    def __call__(self, videos: jax.Array) -> jax.Array:
        """Computes the logits.

        Args:
            videos: float32 RGB [B, T, 224, 224, 3] in [-1, 1], as `metrics.fvd.prepare` makes
                them; T at least 9.

        Returns:
            float32 [B, 400].

        Raises:
            InputError: there are fewer than 9 frames.
        """
        _, num_frames, height, width, _ = videos.shape
        if num_frames < MIN_FRAMES:
            raise InputError(f"found a clip of {num_frames} frames, expected at least {MIN_FRAMES}")
        if (height, width) != (SIDE, SIDE):
            raise ValueError(f"videos are {videos.shape}, expected {SIDE} pixels a side")
        logits = _Classifier(name="logits")(_average_pool(trunk(videos)))
        return logits.mean((1, 2, 3))


def logits(network_variables: dict[str, Any], videos: jax.Array) -> jax.Array:
    """What the Fréchet video distance uses of I3D.

    Args:
        network_variables: from `load`.
        videos: float32 RGB [B, T, 224, 224, 3] in [-1, 1]; see `I3D`.

    Returns:
        float32 [B, 400].

    Raises:
        InputError: there are fewer than 9 frames.
    """
    return cast(jax.Array, I3D().apply(network_variables, videos))


@functools.cache
def _shapes() -> variables.Shapes:
    videos = jax.ShapeDtypeStruct((1, MIN_FRAMES, SIDE, SIDE, 3), jnp.float32)
    return variables.shapes_of(jax.eval_shape(I3D().init, jax.random.key(0), videos))


def conversion() -> conversions.Conversion:
    """How pytorch-i3d's `rgb_imagenet.pt` becomes the variables of `I3D`.

    PyTorch counts the training steps of batch norms since 0.4; the published file is older.
    """
    ignored = r".*\.bn\.num_batches_tracked"
    return conversions.Conversion(_shapes(), conversions.torch_keys(_shapes()), ignored)


def tensorflow_conversion() -> conversions.Conversion:
    """How kinetics-i3d's `data/checkpoints/rgb_imagenet/model.ckpt` becomes the variables of `I3D`.

    Its batch norms have an offset and no scale. 230 variables, 12,704,544 values.
    """
    keys = {path: _tensorflow_key(path) for path in _shapes() if not path.endswith("/scale")}
    ones = frozenset(_shapes()) - frozenset(keys)
    return conversions.Conversion(_shapes(), keys, ones=ones, flax_kernels=True)


def _tensorflow_key(path: str) -> str:
    """params/Mixed_3b/b0/bn/bias: RGB/inception_i3d/Mixed_3b/Branch_0/.../batch_norm/beta."""
    _, *modules, layer, leaf = path.split("/")
    unit = "/".join(_TENSORFLOW_UNITS.get(module, module) for module in modules)
    unit = _TENSORFLOW_SLIPS.get(unit, unit)
    return f"RGB/inception_i3d/{unit}/{_TENSORFLOW_LEAVES[f'{layer}/{leaf}']}"


def load(cache_dir: str | os.PathLike | None = None) -> dict[str, Any]:
    """Loads the converted weights.

    Args:
        cache_dir: the folder of the weights; by default $SFLOW_CACHE or ~/.cache/sflow_jax.

    Returns:
        The variables of `I3D`: {'params': ..., 'batch_stats': ...}.

    Raises:
        InputError: they are absent; the message has the command that gets them.
    """
    return weights.load("i3d", cache_dir)
