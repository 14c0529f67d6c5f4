"""PSPNet, the segmentation network that scores generated street scenes.

Zhao et al., "Pyramid Scene Parsing Network" (2017), with the ResNet of the authors' PyTorch program
hszhao/semseg: a stem of three convolutions, strides in the 3x3 convolutions, and dilation in place
of stride in the last two layers, whose maps have an eighth of the input's size. Modules have the
names of that program's checkpoints.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from sflow_jax.models.layers import Conv
from sflow_jax.ops import resize

STRIDE = 8
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # of the four layers, by depth of the ResNet
BINS = (1, 2, 3, 6)

# Of RGB in [0, 1], over ImageNet.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

_EPSILON = 1e-5
_MOMENTUM = 0.1  # the share of the newest batch in running statistics
_STRIDES = (1, 2, 1, 1)  # of the four layers
_DILATIONS = (1, 1, 2, 4)


def normalize(images: jax.Array) -> jax.Array:
    """RGB in [-1, 1] to what the network takes: ImageNet's mean 0 and standard deviation 1."""
    return ((images + 1) / 2 - jnp.array(MEAN)) / jnp.array(STD)


def _unbiased(var: jax.Array, count: int) -> jax.Array:
    return var * (count / (count - 1))


class TorchBatchNorm(nn.Module):
    """PyTorch's batch norm: its running variance is the unbiased one, unlike Linen's.

    Attributes:
        training: whether to use and record the statistics of the batch.
    """

    training: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to the same shape.

        Raises:
            ValueError: in training, there is one value per channel.
        """
        channels = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        mean, var = running_mean.value, running_var.value
        if self.training:
            count = x.size // x.shape[-1]
            if count == 1:
                raise ValueError(f"batch norm over {x.shape}: found one image, expected two")
            mean = x.mean((0, 1, 2))
            var = jnp.square(x - mean).mean((0, 1, 2))
            if not self.is_initializing():
                running_mean.value += _MOMENTUM * (mean - running_mean.value)
                running_var.value += _MOMENTUM * (_unbiased(var, count) - running_var.value)
        return (x - mean) * (scale / jnp.sqrt(var + _EPSILON)) + bias


def _conv(x: jax.Array, channels: int, kernel: int, training: bool, **options: Any) -> jax.Array:
    """A convolution with PyTorch's padding, which keeps the size unless there is a stride."""
    options = {"use_bias": False, **options}
    conv = Conv(
        channels,
        (kernel, kernel),
        padding=kernel // 2 * options.get("kernel_dilation", 1),
        # Scores must not depend on the device: GPU and TPU would multiply in a coarser type.
        precision=None if training else "highest",
        kernel_init=nn.initializers.variance_scaling(2, "fan_out", "normal"),
        **options,
    )
    return conv(x)


class _Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 with batch norms, and what goes around them."""

    channels: int
    stride: int
    dilation: int
    training: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        training, out_channels = self.training, 4 * self.channels
        middle = {"strides": self.stride, "kernel_dilation": self.dilation}
        y = _conv(x, self.channels, 1, training, name="conv1")
        y = nn.relu(TorchBatchNorm(training, name="bn1")(y))
        y = _conv(y, self.channels, 3, training, name="conv2", **middle)
        y = nn.relu(TorchBatchNorm(training, name="bn2")(y))
        y = _conv(y, out_channels, 1, training, name="conv3")
        y = TorchBatchNorm(training, name="bn3")(y)
        if x.shape[-1] != out_channels or self.stride > 1:
            x = _conv(x, out_channels, 1, training, strides=self.stride, name="downsample.0")
            x = TorchBatchNorm(training, name="downsample.1")(x)
        return nn.relu(x + y)


class PSPNet(nn.Module):
    """Labels every pixel; 49.1 million parameters with 50 layers and 19 classes.

    Attributes:
        num_classes: classes of the logits.
        blocks: bottlenecks in each of the four layers; a value of `BLOCKS` for the published
            networks.
        width: channels of the first convolution, of which all others have multiples; 64 in the
            published networks.
        dropout: share of the channels that are dropped before each classifier in training.
        training: whether batch norms use the statistics of the batch, whose updates are in
            `batch_stats`, channels are dropped (rng `dropout`), and the auxiliary head answers.
    """

    num_classes: int = 19
    blocks: Sequence[int] = BLOCKS[50]
    width: int = 64
    dropout: float = 0.1
    training: bool = False

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array | tuple[jax.Array, jax.Array]:
        """Computes logits.

        Args:
            images: RGB [B, H, W, 3], see `normalize`; H and W are 8 k + 1, such as 713, so that
                the corners of image and map coincide. In training B is at least 2.

        Returns:
            float32 [B, H, W, num_classes]; in training these and the auxiliary head's.

        Raises:
            ValueError: the sides are others.
        """
        height, width = images.shape[1:3]
        if height % STRIDE != 1 or width % STRIDE != 1:
            raise ValueError(f"images are {images.shape}, expected sides of 8 k + 1 pixels")
        x = self._stem(images)
        for index, (count, stride, dilation) in enumerate(
            zip(self.blocks, _STRIDES, _DILATIONS, strict=True)
        ):
            before = x  # of the last layer: what the auxiliary head sees
            for block in range(count):
                name = f"layer{index + 1}.{block}"
                bottleneck = _Bottleneck(
                    self.width << index, 1 if block else stride, dilation, self.training, name=name
                )
                x = bottleneck(x)
        logits = self._classify(self._pyramid(x), "cls", 8 * self.width)
        logits = resize.resize_align_corners(logits, height, width)
        if not self.training:
            return logits
        auxiliary = self._classify(before, "aux", 4 * self.width)
        return logits, resize.resize_align_corners(auxiliary, height, width)

    def _stem(self, x: jax.Array) -> jax.Array:
        """Three convolutions and a max pool: a quarter of the size."""
        for index, (factor, stride) in enumerate(((1, 2), (1, 1), (2, 1))):
            name = f"layer0.{3 * index}"
            x = _conv(x, factor * self.width, 3, self.training, strides=stride, name=name)
            x = nn.relu(TorchBatchNorm(self.training, name=f"layer0.{3 * index + 1}")(x))
        return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))

    def _pyramid(self, x: jax.Array) -> jax.Array:
        """The map, and what it averages to over the whole image, halves, thirds and sixths."""
        levels = [x]
        for index, bins in enumerate(BINS):
            name = f"ppm.features.{index}"
            y = resize.adaptive_average_pool(x, bins)
            y = _conv(y, x.shape[-1] // len(BINS), 1, self.training, name=f"{name}.1")
            y = nn.relu(TorchBatchNorm(self.training, name=f"{name}.2")(y))
            levels.append(resize.resize_align_corners(y, *x.shape[1:3]))
        return jnp.concatenate(levels, axis=-1)

    def _classify(self, x: jax.Array, name: str, channels: int) -> jax.Array:
        x = _conv(x, channels, 3, self.training, name=f"{name}.0")
        x = nn.relu(TorchBatchNorm(self.training, name=f"{name}.1")(x))
        # PyTorch's Dropout2d: a channel goes as a whole.
        x = nn.Dropout(self.dropout, (1, 2), deterministic=not self.training)(x)
        return _conv(x, self.num_classes, 1, self.training, use_bias=True, name=f"{name}.4")
