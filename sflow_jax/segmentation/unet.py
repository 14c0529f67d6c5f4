"""A small segmentation network, whose encoder also serves as a perceptual network.

A U-Net (Ronneberger et al., 2015) of plain convolutions and ReLUs. It is trained with batch norm
behind each 3x3 convolution, which `fold_batch_norm` then merges into the kernels: what is stored
and used has no norm, so no result depends on the batch or on running statistics.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from sflow_jax.models.layers import Conv
from sflow_jax.ops.nn import max_pool_2x2, pad_to_multiple, relu

STRIDE = 16  # of the coarsest stage
_NORM_EPSILON = 1e-5


class ConvBlock(nn.Module):
    """A 3x3 convolution, batch norm while training, ReLU.

    Attributes:
        width: output channels.
        training: whether batch norm, with the statistics of the batch, replaces the bias.
        dtype: type of the computation.
    """

    width: int
    training: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, H, W, width]."""
        conv = Conv(
            self.width,
            (3, 3),
            padding=1,
            use_bias=not self.training,
            dtype=self.dtype,
            kernel_init=nn.initializers.he_normal(),
            name="conv",
        )
        x = conv(x)
        if self.training:
            norm = nn.BatchNorm(
                use_running_average=False, momentum=0.98, epsilon=_NORM_EPSILON, name="norm"
            )
            x = norm(x)
        return relu(x)


def fold_batch_norm(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Merges the batch norms of a trained `UNet` into its convolutions.

    Args:
        variables: {'params': ..., 'batch_stats': ...} of `UNet(training=True)`.

    Returns:
        {'params': ...} of `UNet()`, which computes the same with the running statistics.
    """
    params = flax.traverse_util.flatten_dict(variables["params"])
    statistics = flax.traverse_util.flatten_dict(variables["batch_stats"])
    folded = {path: value for path, value in params.items() if "norm" not in path}
    for path in statistics:
        if path[-1] != "mean":
            continue
        norm, conv = path[:-1], (*path[:-2], "conv")
        gain = params[*norm, "scale"] / np.sqrt(statistics[*norm, "var"] + _NORM_EPSILON)
        folded[*conv, "kernel"] = params[*conv, "kernel"] * gain
        folded[*conv, "bias"] = params[*norm, "bias"] - statistics[path] * gain
    return {"params": flax.traverse_util.unflatten_dict(folded)}


class Encoder(nn.Module):
    """One stage of two convolutions per width, a 2x2 max pool between the stages.

    Attributes:
        widths: channels of the stages.
        block: makes a `ConvBlock` of a width.
    """

    widths: Sequence[int]
    block: Callable[..., ConvBlock] = ConvBlock

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
        """Returns the first and the last activation of every stage, finest stage first."""
        first, last = [], []
        for stage, width in enumerate(self.widths, start=1):
            if stage > 1:
                x = max_pool_2x2(x)
            first.append(self.block(width, name=f"block{stage}_1")(x))
            x = self.block(width, name=f"block{stage}_2")(first[-1])
            last.append(x)
        return first, last


class Decoder(nn.Module):
    """Goes back to the input size, adding each stage of the encoder to what came from below.

    Attributes:
        widths: channels at the stages, finest first; the coarsest stage has none.
        block: makes a `ConvBlock` of a width.
        conv: makes a convolution of a width and a kernel size.
    """

    widths: Sequence[int]
    block: Callable[..., ConvBlock] = ConvBlock
    conv: Callable[..., nn.Module] = Conv

    @nn.compact
    def __call__(self, stages: list[jax.Array]) -> jax.Array:
        """Maps the last activations of all stages to [B, H, W, widths[0]]."""
        x = stages[-1]
        for stage in range(len(self.widths), 0, -1):
            width = self.widths[stage - 1]
            below = self.conv(width, (1, 1), name=f"below{stage}")(x)
            skip = self.conv(width, (1, 1), name=f"skip{stage}")(stages[stage - 1])
            x = relu(below.repeat(2, 1).repeat(2, 2) + skip)
            x = self.block(width, name=f"block{stage}")(x)
        return x


class UNet(nn.Module):
    """Labels every pixel; 0.47 million parameters.

    Attributes:
        num_classes: classes of the logits.
        widths: channels of the five encoder stages.
        decoder_widths: channels of the four decoder stages, finest first.
        training: see `ConvBlock`; without it the network has no norm and no `batch_stats`.
        dtype: type of the computation; the logits are float32.
    """

    num_classes: int = 19
    widths: Sequence[int] = (16, 32, 64, 96, 96)
    decoder_widths: Sequence[int] = (16, 32, 48, 64)
    training: bool = False
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """Builds the layers that `__call__` and `features` share."""
        block = functools.partial(ConvBlock, training=self.training, dtype=self.dtype)
        conv = functools.partial(Conv, dtype=self.dtype)
        self.encoder = Encoder(self.widths, block)
        self.decoder = Decoder(self.decoder_widths, block, conv)
        self.classifier = Conv(self.num_classes, (1, 1))

    def __call__(self, images: jax.Array) -> jax.Array:
        """Computes logits.

        Args:
            images: RGB [B, H, W, 3] in [-1, 1] of any size; sides that are not multiples of 16 are
                padded and the logits cropped back.

        Returns:
            float32 [B, H, W, num_classes].
        """
        height, width = images.shape[1:3]
        _, stages = self.encoder(pad_to_multiple(images, STRIDE))
        logits = self.classifier(self.decoder(stages).astype(jnp.float32))
        return logits[:, :height, :width]

    def features(self, images: jax.Array) -> list[jax.Array]:
        """The slices of a perceptual loss: the first ReLU of each stage, as relu1_1 ... of VGG19.

        Args:
            images: RGB [B, H, W, 3] in [-1, 1]; H and W at least 16.

        Returns:
            Five arrays of the type `dtype`, the k-th [B, H / 2^k, W / 2^k, widths[k]] for k from 0,
            sides rounded down.
        """
        slices, _ = self.encoder(images)
        return slices
