"""A trained generator as a function of arrays, with its parameters inside: what is exported."""

import dataclasses
from collections.abc import Iterable, Mapping

import jax
import numpy as np
from jax.dtypes import canonicalize_dtype

from sflow_jax.errors import InputError
from sflow_jax.inference import TrainedModel
from sflow_jax.ops.forms import plain_forms


@dataclasses.dataclass(frozen=True)
class Input:
    """An input of a sampler.

    Attributes:
        axes: their sizes, where 'b', 'h' and 'w' stand for any, such as ('b', 'h', 'w', '3').
        dtype: of its elements.
    """

    axes: tuple[str, ...]
    dtype: np.dtype

    def shape(self, sizes: Mapping[str, object]) -> tuple[str, ...]:
        """The axes with the sizes that are known."""
        return tuple(str(sizes.get(axis, axis)) for axis in self.axes)


@dataclasses.dataclass(frozen=True)
class Exported:
    """A sampler in a file format.

    Attributes:
        content: of the file.
        shapes: type and shape of each input, by name.
    """

    content: bytes
    shapes: Mapping[str, str]


@dataclasses.dataclass(frozen=True, eq=False)  # it is compiled, known by identity
class Sampler:
    """Translates frames as `TrainedModel.translate` does, from uint8 to uint8.

    Attributes:
        model: the trained generator.
        inputs: by name, in the order of the arguments: `label` [b, h, w, 1], class ids, and
            `edge_image` [b, h, w, 3], the CG frame; then what the run's method has, such as the
            ensemble weights `weights` [6] and the number of a palette, `style` [b].
    """

    model: TrainedModel
    inputs: Mapping[str, Input]

    def __call__(self, *arrays: jax.Array) -> jax.Array:
        """Translates.

        Args:
            *arrays: for every input, in order.

        Returns:
            Pictures, uint8 RGB [b, h, w, 3].
        """
        controls = dict(self.model.controls) | dict(zip(self.inputs, arrays, strict=True))
        frames = controls.pop("label"), controls.pop("edge_image")
        with plain_forms():  # which know no sizes and no platform
            return self.model.method.translate(self.model.params, *frames, **controls)["picture"]


def describe(dtype: np.dtype, shape: Iterable[object]) -> str:
    """Type and shape of an input for people, such as 'uint8 [b, h, w, 1]'."""
    return f"{dtype} [{', '.join(map(str, shape))}]"


def make_sampler(model: TrainedModel) -> Sampler:
    """The sampler of a trained generator.

    Raises:
        InputError: it makes a frame from those before.
    """
    method = model.method
    if method.remembers:
        raise InputError(
            f"--workdir: found a run of {model.config.method}, which makes a frame from those "
            "before it; expected a method that makes each image by itself"
        )
    maps = {"label": (1, "uint8"), "edge_image": (3, "uint8")}
    maps |= {key: (1, "uint16") for key in method.input_keys}
    inputs = {
        name: Input(("b", "h", "w", str(channels)), np.dtype(dtype))
        for name, (channels, dtype) in maps.items()
    }
    drawn = {} if method.why_no_variants(model.controls) else method.variants(1, None)[0]
    for name, value in drawn.items():
        inputs[name] = Input(tuple(map(str, value.shape)), canonicalize_dtype(value.dtype))
    for name, values in method.styles([""]).items():
        inputs[name] = Input(("b",), canonicalize_dtype(values.dtype))
    return Sampler(model, inputs)
