"""Fast forms of 2-D convolutions and their gradients, chosen by platform and by size.

`ops.convolution` decides where they are used. They are equal to `jax.lax.conv_general_dilated` and
its gradients but for the order of summation. What XLA's own forms cost is in docs/performance.md;
in short (jaxlib 0.10):

- on a CPU XLA hands a convolution without padding to a library that is up to 30 times slower than
  its usual code: padding one column, which is cut off again, prevents that;
- the kernel gradient of a layer whose output is larger than its input, as PatchGAN's 4x4 ones of
  stride 1, becomes a convolution with a kernel of the image's size (on a CPU the gradient of every
  padded layer does): padding the input beforehand avoids that;
- on a CPU the kernel gradient of a large image reads all of it from memory several times: computed
  in blocks of a few rows it is a product of matrices that fit into the cache;
- on a CPU the kernel gradient is vectorized over the output features: for a layer with few of them
  it is computed with input and output swapped, over the input's channels;
- on a CPU the input gradient of stride 2 multiplies mostly zeros: see `_subpixel`;
- on a CPU the input gradient of a layer with few pixels spends its time on transposing the kernel
  in memory: a product of matrices takes the kernel as it is stored.

All images are [B, H, W, C], all kernels [kh, kw, C, O].
"""

import functools

import jax
import jax.numpy as jnp

from sflow_jax.ops import forms

Padding = tuple[tuple[int, int], tuple[int, int]]

_NO_PADDING = ((0, 0), (0, 0))
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")
# Below this work and this number of pixels everything is in the cache anyway.
_LARGE_MULTIPLICATIONS = 2**30
_LARGE_PIXELS = 2**12
# With so few pixels for each feature, and numbers in their patches, the kernel is the larger part.
_DEEP_PIXELS = 4
_DEEP_PATCHES = 2**21
_FEW_FEATURES = 16  # less than a vector of a CPU
_BLOCK_PIXELS = 512  # of the output, per block of a kernel gradient


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def convolve(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding, num_constant: int = 0
) -> jax.Array:
    """The convolution of neural networks, a correlation.

    Args:
        x: [B, H, W, C].
        kernel: [kh, kw, C, O] of the same type.
        stride: in both directions.
        padding: zeros before and behind, of the height and of the width.
        num_constant: so many channels of `x`, the first ones, are data: their gradient is 0.

    Returns:
        [B, (H + padding - kh) // stride + 1, (W + padding - kw) // stride + 1, O].
    """
    if forms.on_cpu() and padding == _NO_PADDING:
        width = (x.shape[2] - kernel.shape[1]) // stride + 1
        return _plain(x, kernel, stride, ((0, 0), (0, 1)))[:, :, :width]
    return _plain(x, kernel, stride, padding)


def _convolve_forward(x, kernel, stride, padding, num_constant):
    return convolve(x, kernel, stride, padding, num_constant), (x, kernel)


def _convolve_backward(stride, padding, num_constant, inputs, cotangent):
    x, kernel = inputs
    to_kernel = kernel_gradient(x, cotangent, kernel.shape[:2], stride, padding)
    if num_constant == x.shape[-1]:
        return jnp.zeros_like(x), to_kernel
    size = x.shape[1:3]
    to_others = input_gradient(cotangent, kernel[:, :, num_constant:], stride, padding, size)
    return jnp.pad(to_others, ((0, 0), (0, 0), (0, 0), (num_constant, 0))), to_kernel


convolve.defvjp(_convolve_forward, _convolve_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def convolve_transposed(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Padding, size: tuple[int, int]
) -> jax.Array:
    """The transposed convolution: the input gradient of `convolve` as a layer of its own.

    Args:
        x: [B, h, w, O], as `convolve` would return it.
        kernel: [kh, kw, C, O], the kernel of that convolution.
        stride: of that convolution.
        padding: of that convolution.
        size: height and width of the result.

    Returns:
        [B, *size, C].
    """
    return input_gradient(x, kernel, stride, padding, size)


def _transposed_forward(x, kernel, stride, padding, size):
    return convolve_transposed(x, kernel, stride, padding, size), (x, kernel)


def _transposed_backward(stride, padding, size, inputs, cotangent):
    x, kernel = inputs
    return (
        convolve(cotangent, kernel, stride, padding),
        kernel_gradient(cotangent, x, kernel.shape[:2], stride, padding),
    )


convolve_transposed.defvjp(_transposed_forward, _transposed_backward)


def input_gradient(
    cotangent: jax.Array, kernel: jax.Array, stride: int, padding: Padding, size: tuple[int, int]
) -> jax.Array:
    """The gradient of `convolve` to its input of `size`, [B, *size, C]."""
    if forms.on_cpu() and _is_deep(cotangent, kernel.shape):
        return _input_gradient_by_patches(cotangent, kernel, stride, padding, size)
    fills_phases = all(side % stride == 0 for side in kernel.shape[:2])
    if forms.on_cpu() and stride > 1 and (fills_phases or _is_large(cotangent, kernel.shape)):
        return _subpixel(cotangent, kernel, stride, padding, size)
    shape = (cotangent.shape[0], *size, kernel.shape[2])
    x = jax.ShapeDtypeStruct(shape, cotangent.dtype)
    return jax.linear_transpose(lambda x: _plain(x, kernel, stride, padding), x)(cotangent)[0]


def kernel_gradient(
    x: jax.Array, cotangent: jax.Array, kernel_size: tuple[int, int], stride: int, padding: Padding
) -> jax.Array:
    """The gradient of `convolve` to its kernel, [kh, kw, C, O]."""
    shape = (*kernel_size, x.shape[-1], cotangent.shape[-1])
    if forms.on_cpu() and stride == 1 and shape[-1] < min(_FEW_FEATURES, shape[-2]):
        return _kernel_gradient_swapped(x, cotangent, kernel_size, padding)
    if forms.on_cpu() and _is_large(cotangent, shape):
        return _kernel_gradient_in_blocks(x, cotangent, kernel_size, stride, padding)
    grows = cotangent.shape[1] > x.shape[1] or cotangent.shape[2] > x.shape[2]
    if forms.on_cpu() or grows:
        # The barrier keeps XLA from making the padding the convolution's own again.
        x = jax.lax.optimization_barrier(jnp.pad(x, ((0, 0), *padding, (0, 0))))
        padding = _NO_PADDING
    kernel = jax.ShapeDtypeStruct(shape, x.dtype)
    return jax.linear_transpose(lambda k: _plain(x, k, stride, padding), kernel)(cotangent)[0]


def _plain(x: jax.Array, kernel: jax.Array, stride: int, padding: Padding) -> jax.Array:
    strides = (stride, stride)
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=_DIMENSIONS)


def _is_large(output: jax.Array, kernel_shape: tuple[int, ...]) -> bool:
    pixels = output.shape[0] * output.shape[1] * output.shape[2]
    height, width, channels, features = kernel_shape
    multiplications = pixels * height * width * channels * features
    return pixels >= _LARGE_PIXELS and multiplications >= _LARGE_MULTIPLICATIONS


def _is_deep(output: jax.Array, kernel_shape: tuple[int, ...]) -> bool:
    pixels = output.shape[0] * output.shape[1] * output.shape[2]
    height, width, channels, features = kernel_shape
    patches = pixels * height * width * channels
    return pixels <= _DEEP_PIXELS * features and patches <= _DEEP_PATCHES


def _patches(
    x: jax.Array, kernel_size: tuple[int, int], stride: int, padding: Padding
) -> jax.Array:
    """The input patch of each output pixel, [B * h * w, kh * kw * C], in the kernel's order."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = (
        (side - length) // stride * stride + 1
        for side, length in zip(x.shape[1:3], kernel_size, strict=True)
    )
    taps = [
        x[:, i : i + rows : stride, j : j + columns : stride]
        for i in range(kernel_size[0])
        for j in range(kernel_size[1])
    ]
    patches = jnp.concatenate(taps, axis=-1)
    return patches.reshape(-1, patches.shape[-1])


def _input_gradient_by_patches(
    cotangent: jax.Array, kernel: jax.Array, stride: int, padding: Padding, size: tuple[int, int]
) -> jax.Array:
    """The input gradient as a product with the kernel as it is stored, and sums of patches."""
    height, width, channels, features = kernel.shape
    x = jax.ShapeDtypeStruct((cotangent.shape[0], *size, channels), cotangent.dtype)
    to_patches = cotangent.reshape(-1, features) @ kernel.reshape(-1, features).T
    read = functools.partial(_patches, kernel_size=(height, width), stride=stride, padding=padding)
    return jax.linear_transpose(read, x)(to_patches)[0]


def _subpixel(
    cotangent: jax.Array, kernel: jax.Array, stride: int, padding: Padding, size: tuple[int, int]
) -> jax.Array:
    """The input gradient as a convolution to stride**2 times the channels, then depth to space.

    Padded pixel `stride * m + phase` meets tap `phase + stride * t` at output `m - t`, so that each
    phase has a small kernel of its own.
    """
    (top, _), (left, _) = padding
    height, width, channels, features = kernel.shape
    taps = -(-height // stride), -(-width // stride)
    cells = -(-(size[0] + top) // stride), -(-(size[1] + left) // stride)
    missing = (taps[0] * stride - height, taps[1] * stride - width)
    phases = jnp.pad(kernel, ((0, missing[0]), (0, missing[1]), (0, 0), (0, 0)))
    phases = phases.reshape(taps[0], stride, taps[1], stride, channels, features)[::-1, :, ::-1]
    phases = phases.transpose(0, 2, 5, 1, 3, 4).reshape(*taps, features, stride**2 * channels)
    borders = tuple(
        (tap - 1, cell - side)
        for tap, cell, side in zip(taps, cells, cotangent.shape[1:3], strict=True)
    )
    x = convolve(cotangent, phases, 1, borders)
    x = x.reshape(-1, *cells, stride, stride, channels).transpose(0, 1, 3, 2, 4, 5)
    x = x.reshape(-1, cells[0] * stride, cells[1] * stride, channels)
    return x[:, top : top + size[0], left : left + size[1]]


def _kernel_gradient_in_blocks(
    x: jax.Array, cotangent: jax.Array, kernel_size: tuple[int, int], stride: int, padding: Padding
) -> jax.Array:
    """The kernel gradient as a sum over blocks of rows.

    Tap (i, j) meets row `stride * r + i` of the padded input in row r of the output. So for the
    input rows of one phase, with their taps j side by side as channels, and the output rows that
    each of them met through its taps i, side by side too, one product has all taps.
    """
    height, width = kernel_size
    _, rows, columns, features = cotangent.shape
    channels = x.shape[-1]
    reach = (height - 1) // stride  # output rows above its own that an input row meets
    block = max(1, _BLOCK_PIXELS // (x.shape[0] * columns))
    num_blocks = -(-(rows + reach) // block)
    (top, _), (left, _) = padding
    bottom = num_blocks * block * stride - top - x.shape[1]
    right = (columns - 1) * stride + width - left - x.shape[2]
    no_padding = (0, 0, 0)
    zero = jnp.zeros((), x.dtype)
    x = jax.lax.pad(x, zero, (no_padding, (top, bottom, 0), (left, right, 0), no_padding))
    below = num_blocks * block - rows
    cotangent = jnp.pad(cotangent, ((0, 0), (reach, below), (0, 0), (0, 0)))
    phases = [range(phase, height, stride) for phase in range(min(stride, height))]

    def add_block(sums: list[jax.Array], index: jax.Array) -> tuple[list[jax.Array], None]:
        inputs = jax.lax.dynamic_slice_in_dim(x, index * block * stride, block * stride, 1)
        outputs = jax.lax.dynamic_slice_in_dim(cotangent, index * block, block + reach, 1)
        products = []
        for taps in phases:
            ends = (columns - 1) * stride + 1
            seen = [inputs[:, taps[0] :: stride, j : j + ends : stride] for j in range(width)]
            met = [outputs[:, reach - i // stride :][:, :block] for i in taps]
            products.append(_contract_pixels(*(jnp.concatenate(y, -1) for y in (seen, met))))
        return [a + b for a, b in zip(sums, products, strict=True)], None

    # Sums of many blocks: in float32 at least.
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    zeros = [jnp.zeros((width * channels, len(taps) * features), dtype) for taps in phases]
    sums, _ = jax.lax.scan(add_block, zeros, jnp.arange(num_blocks))
    gradient = {}  # of each row of the kernel
    for taps, total in zip(phases, sums, strict=True):
        total = total.reshape(width, channels, len(taps), features)
        for index, i in enumerate(taps):
            gradient[i] = total[:, :, index]
    return jnp.stack([gradient[i] for i in range(height)]).astype(x.dtype)


def _kernel_gradient_swapped(
    x: jax.Array, cotangent: jax.Array, kernel_size: tuple[int, int], padding: Padding
) -> jax.Array:
    """The kernel gradient of stride 1 as that of a convolution from the output to the input.

    The same pairs of pixels meet, at the opposite tap, and the input's channels are the features.
    """
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    height, width = kernel_size
    full = (height - 1, height - 1), (width - 1, width - 1)
    swapped = kernel_gradient(cotangent, x, kernel_size, 1, full)
    return swapped[::-1, ::-1].swapaxes(2, 3)


def _contract_pixels(first: jax.Array, second: jax.Array) -> jax.Array:
    """[B, H, W, C] and [B, H, W, D] to [C, D]."""
    dtype = jnp.promote_types(first.dtype, jnp.float32)
    pixels = ((0, 1, 2), (0, 1, 2))
    return jax.lax.dot_general(first, second, (pixels, ((), ())), preferred_element_type=dtype)
