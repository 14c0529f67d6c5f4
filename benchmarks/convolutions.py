"""Single convolutions and their gradients: in our forms, in XLA's own, and PyTorch's.

    python -m benchmarks.convolutions [--pytorch] [--sizes 256x128:32] [--batch_sizes 1]
        [--dtype bfloat16] [--output DIR]

The layers are those of S-Flow GAN's generator and discriminator at each size and width. `ours` is
what `ops.convolution` chooses on this platform, `XLA's own` a plain convolution (of the last
doubling a plain transposed one) and its gradients as JAX derives them. With `--pytorch`, which
needs PyTorch, the same runs there, in contiguous memory. All take turns. The limit is what a
product of large matrices of that type reaches, measured before; the share of it is of ours.
"""

import argparse
import dataclasses
import os
from collections.abc import Callable

# PyTorch shares the GPU with JAX.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure, steps
from benchmarks import options as options_lib
from sflow_jax.ops import convolution
from sflow_jax.training.cost import matrix_limit

OPERATIONS = ("forward", "input gradient", "kernel gradient")


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution at its place in a network.

    Attributes:
        name: of the place.
        size: height and width of the input.
        channels: of the input.
        features: of the output.
        side: of the kernel.
        stride: in both directions; of a transposed convolution that of the one it transposes.
        padding: zeros on each border; 0 where the input has been padded by reflection.
        is_transposed: doubles height and width, as `models.layers.UpsampleConv`.
    """

    name: str
    size: tuple[int, int]
    channels: int
    features: int
    side: int
    stride: int
    padding: int
    is_transposed: bool = False

    def apply_ours(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """The layer in the forms of `ops.convolution`; kernels are [kh, kw, C, O]."""
        if not self.is_transposed:
            return convolution.convolve(x, kernel, (self.stride, self.stride), self._pads)
        size = (2 * self.size[0], 2 * self.size[1])
        kernel = kernel.transpose(0, 1, 3, 2)
        return convolution.convolve_transposed(x, kernel, self.stride, self._pads, size)

    def apply_plain(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """The layer as JAX has it, with the same numbers."""
        strides = (self.stride, self.stride)
        if not self.is_transposed:
            dimensions = ("NHWC", "HWIO", "NHWC")
            return jax.lax.conv_general_dilated(
                x, kernel, strides, self._pads, dimension_numbers=dimensions
            )
        pads = ((1, 2), (1, 2))  # of the image with zeros between its pixels
        return jax.lax.conv_transpose(x, kernel[::-1, ::-1], strides, pads)

    def arrays(self, dtype: str, batch_size: int = 1) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Noise as input, kernel and gradient of the output."""
        shapes = (
            (batch_size, *self.size, self.channels),
            (self.side, self.side, self.channels, self.features),
        )
        x, kernel = (
            jax.random.normal(jax.random.key(index), shape, dtype)
            for index, shape in enumerate(shapes)
        )
        output = jax.eval_shape(self.apply_plain, x, kernel)
        return x, kernel, jax.random.normal(jax.random.key(2), output.shape, dtype)

    def gflop(self, cotangent: jax.Array) -> float:
        """Of one operation; all three take the same number."""
        height, width = self.size if self.is_transposed else cotangent.shape[1:3]
        per_pixel = 2 * self.side**2 * self.channels * self.features
        return len(cotangent) * height * width * per_pixel / 1e9

    @property
    def _pads(self) -> convolution.Padding:
        return ((self.padding, self.padding),) * 2


def layers(size: options_lib.Size) -> list[Layer]:
    """Those of the default networks, of an image of `size` (height, width, channels of width)."""
    height, width, n = size
    bordered = height + 6, width + 6  # by reflection, for the 7x7 kernels
    deep = height // 8 + 2, width // 8 + 2
    before_last = height // 8 + 1, width // 8 + 1  # each layer of PatchGAN adds a pixel to the half
    classes = steps.NUM_CLASSES
    return [
        Layer("first, 7x7", bordered, classes + 1, n, 7, 1, 0),
        Layer("first halving, 3x3", (height, width), n, 2 * n, 3, 2, 1),
        Layer("last halving, 3x3", (height // 4, width // 4), 4 * n, 8 * n, 3, 2, 1),
        Layer("residual block, 3x3", deep, 8 * n, 8 * n, 3, 1, 0),
        Layer("last doubling, 3x3", (height // 2, width // 2), 2 * n, n, 3, 2, 1, True),
        Layer("last, 7x7", bordered, n, 3, 7, 1, 0),
        Layer("PatchGAN's first, 4x4", (height, width), classes + 3, n, 4, 2, 2),
        Layer("PatchGAN's fourth, 4x4", before_last, 4 * n, 8 * n, 4, 1, 2),
        Layer("PatchGAN's last, 4x4", (before_last[0] + 1, before_last[1] + 1), 8 * n, 1, 4, 1, 2),
    ]


def main() -> None:
    """Measures every layer of every size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pytorch", action="store_true")
    parser.add_argument("--num_measurements", type=options_lib.at_least(2), default=5)
    options_lib.add_cases(parser, "convolutions", "256x128:32", "1", "float32")
    options = parser.parse_args()
    if options.pytorch and not options_lib.has_pytorch():
        parser.error("argument --pytorch: PyTorch is not installed")
    limit = matrix_limit(options.dtype) / 1e12
    rows = [
        row
        for batch_size in options.batch_sizes
        for size in options.sizes
        for layer in layers(size)
        for row in _measure(layer, options, size, batch_size, limit)
    ]
    measure.report(options.name, rows, options.output)


def _measure(
    layer: Layer,
    options: argparse.Namespace,
    size: options_lib.Size,
    batch_size: int,
    limit: float,
) -> list[dict[str, object]]:
    arrays = layer.arrays(options.dtype, batch_size)
    gflop = layer.gflop(arrays[2])
    programs = {
        "ours": operations(layer.apply_ours, *arrays),
        "XLA's own": operations(layer.apply_plain, *arrays),
    }
    if options.pytorch:
        programs["PyTorch"] = _pytorch_operations(layer, *arrays)
    rows = []
    for operation in OPERATIONS:
        functions = {name: program[operation] for name, program in programs.items()}
        timings = measure.time_in_turn(functions, options.num_measurements)
        rows.append(
            {
                "layer": layer.name,
                "operation": operation,
                **options_lib.columns(options, size, batch_size),
                **timings,
                "GFLOP": round(gflop, 2),
                **measure.beside_limit(gflop, timings["ours"], limit),
            }
        )
    return rows


def operations(
    apply: Callable, x: jax.Array, kernel: jax.Array, cotangent: jax.Array
) -> dict[str, Callable[[], jax.Array]]:
    """A layer and its two gradients, by `OPERATIONS`, each compiled for itself."""

    def gradient(index: int) -> Callable:
        # Of the other gradient, and of the result, nothing is computed.
        return lambda *arrays: jax.vjp(apply, *arrays[:2])[1](arrays[2])[index]

    functions = (lambda x, kernel, _: apply(x, kernel), gradient(0), gradient(1))
    compiled = map(jax.jit, functions)
    return {
        operation: lambda function=function: function(x, kernel, cotangent)
        for operation, function in zip(OPERATIONS, compiled, strict=True)
    }


def _pytorch_operations(layer: Layer, *arrays: jax.Array) -> dict[str, Callable[[], None]]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"

    def place(array: jax.Array, order: tuple[int, ...]) -> torch.Tensor:
        # By way of float32, as NumPy's own types have no bfloat16.
        tensor = torch.from_numpy(np.array(array.astype(jnp.float32)).transpose(order))
        return tensor.to(device, getattr(torch, array.dtype.name)).contiguous()

    # PyTorch's transposed convolution has its input's channels in front.
    order = (2, 3, 0, 1) if layer.is_transposed else (3, 2, 0, 1)
    x, kernel, cotangent = map(place, arrays, ((0, 3, 1, 2), order, (0, 3, 1, 2)))
    added = [1, 1] if layer.is_transposed else [0, 0]
    geometry = (
        [layer.stride] * 2, [layer.padding] * 2, [1, 1], layer.is_transposed, added, 1,
    )  # fmt: skip

    def waiting(function: Callable) -> Callable[[], None]:
        def call() -> None:
            with torch.inference_mode():
                function()
            if device == "cuda":
                torch.cuda.synchronize()

        return call

    def forward() -> None:
        torch.ops.aten.convolution(x, kernel, None, *geometry)

    def gradient(mask: list[bool]) -> Callable[[], None]:
        return lambda: torch.ops.aten.convolution_backward(
            cotangent, x, kernel, None, *geometry, mask
        )

    functions = (forward, gradient([True, False, False]), gradient([False, True, False]))
    return dict(zip(OPERATIONS, map(waiting, functions), strict=True))


if __name__ == "__main__":
    main()
