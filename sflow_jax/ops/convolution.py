"""Convolution and transposed convolution, each computed in the form that suits the platform.

The definitions are `jax.lax.conv_general_dilated` and its transposition; `ops.forms` has the switch
that computes just these. Otherwise a 1x1 convolution is a product of matrices, a 2-D convolution
has the forms of `ops.fast_convolution`, and what has no fast form is left to XLA.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from sflow_jax.ops import arguments, fast_convolution, forms

Padding = fast_convolution.Padding


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
    *,
    num_constant: int = 0,
) -> jax.Array:
    """The convolution of neural networks, a correlation, over any number of spatial axes.

    It can be the `conv_general_dilated` of Flax's layers, whose signature it has.

    Args:
        x: float [B, ..., C], channels last.
        kernel: [..., C / feature_group_count, O] of the same type.
        strides: one per spatial axis.
        padding: 'SAME', 'VALID', or the zeros before and behind each spatial axis.
        lhs_dilation: distances of the pixels of `x`, 1 by default.
        rhs_dilation: distances of the taps of `kernel`, 1 by default.
        dimension_numbers: Flax's description of this layout, the only one that is known.
        feature_group_count: groups of channels that do not see each other.
        precision: of the products, as `jax.lax.Precision`.
        num_constant: how many channels of `x`, the first ones, are data: their gradient is 0.

    Returns:
        [B, ..., O] of the same type.

    Raises:
        TypeError: `x` and `kernel` are not of one float type.
        ValueError: their ranks or channels do not fit.
    """
    _check_arguments(x, kernel, -2, feature_group_count)
    channels_last = _channels_last(x.ndim)
    if dimension_numbers not in (None, channels_last):
        raise ValueError(f"dimension_numbers: found {dimension_numbers}, expected {channels_last}")
    strides, ones = tuple(strides), (1,) * len(strides)
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:-1], kernel.shape[:-2], strides, padding)
    padding = tuple((before, behind) for before, behind in padding)
    options = {
        "lhs_dilation": tuple(lhs_dilation or ones),
        "rhs_dilation": tuple(rhs_dilation or ones),
        "feature_group_count": feature_group_count,
        "precision": precision,
    }
    is_plain = forms.is_plain()
    is_pointwise = _is_pointwise(kernel, padding, options)
    if not is_plain and not is_pointwise and _has_fast_form(kernel, strides, options):
        return fast_convolution.convolve(x, kernel, strides[0], padding, num_constant)
    if num_constant:
        constant = jax.lax.stop_gradient(x[..., :num_constant])
        x = jnp.concatenate([constant, x[..., num_constant:]], -1)
    if not is_plain and is_pointwise:
        x = x[:, *(slice(None, None, stride) for stride in strides)]
        return jnp.matmul(x, kernel.reshape(kernel.shape[-2:]), precision=precision)
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=channels_last, **options
    )


def convolve_transposed(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding, size: tuple[int, int]
) -> jax.Array:
    """The transposed convolution: the gradient of a convolution to its input, as a layer.

    Args:
        x: float [B, h, w, O], of the shape that the convolution returns.
        kernel: [kh, kw, C, O] of the same type, the kernel of that convolution.
        stride: of that convolution, in both directions.
        padding: of that convolution, before and behind the height and the width.
        size: height and width of the result, which that convolution takes to (h, w).

    Returns:
        [B, *size, C].

    Raises:
        TypeError: `x` and `kernel` are not of one float type.
        ValueError: their ranks or channels do not fit.
    """
    arguments.check_array("x", x, "B h w O", "float")
    _check_arguments(x, kernel, -1)
    if not forms.is_plain():
        return fast_convolution.convolve_transposed(x, kernel, stride, padding, size)
    # With zeros between its pixels, `x` meets the kernel that is turned round.
    lengths = ((side - 1) * stride + 1 for side in x.shape[1:3])
    borders = [
        (taps - 1 - before, side + before - length)
        for taps, side, length, (before, _) in zip(
            kernel.shape[:2], size, lengths, padding, strict=True
        )
    ]
    return jax.lax.conv_general_dilated(
        x,
        jnp.flip(kernel, (0, 1)).swapaxes(2, 3),
        (1, 1),
        borders,
        lhs_dilation=(stride, stride),
        dimension_numbers=_channels_last(4),
    )


def _check_arguments(x: jax.Array, kernel: jax.Array, channel_axis: int, groups: int = 1) -> None:
    """Checks that `x` has the channels that the axis of the kernel stands for, and its type."""
    for name, array in (("x", x), ("kernel", kernel)):
        arguments.check_array(name, array, None, "float")
    if x.dtype != kernel.dtype:
        raise TypeError(f"found x {x.dtype} and kernel {kernel.dtype}, expected one type")
    fits = x.ndim == kernel.ndim >= 3 and x.shape[-1] == kernel.shape[channel_axis] * groups
    if not fits:
        found = f"x {list(x.shape)} and kernel {list(kernel.shape)}"
        raise ValueError(f"found {found}, expected equal ranks and channels in x and kernel")


def _channels_last(rank: int) -> jax.lax.ConvDimensionNumbers:
    last, spatial = rank - 1, tuple(range(1, rank - 1))
    images = (0, last, *spatial)
    return jax.lax.ConvDimensionNumbers(images, (last, last - 1, *range(rank - 2)), images)


def _is_pointwise(kernel: jax.Array, padding: tuple, options: dict[str, Any]) -> bool:
    return (
        set(kernel.shape[:-2]) == {1}
        and set(padding) == {(0, 0)}
        and set(options["lhs_dilation"]) == {1}
        and options["feature_group_count"] == 1
    )


def _has_fast_form(kernel: jax.Array, strides: Sequence[int], options: dict[str, Any]) -> bool:
    # A CPU multiplies in the type of its arguments, whatever the precision.
    has_precision = options["precision"] is None or forms.on_cpu()
    return (
        kernel.ndim == 4
        and strides[0] == strides[1]
        and set(options["lhs_dilation"]) == set(options["rhs_dilation"]) == {1}
        and options["feature_group_count"] == 1
        and has_precision
    )
