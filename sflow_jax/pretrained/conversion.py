"""Checkpoints of PyTorch, Keras and TensorFlow to Flax variables, every key accounted for."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Collection, Mapping
from types import ModuleType
from typing import Any

import flax.traverse_util
import numpy as np

from sflow_jax import variables
from sflow_jax.errors import InputError, reading_from
from sflow_jax.files import not_found, require_held, require_stored_archive

_TORCH_LEAVES = {
    "kernel": "weight",
    "scale": "weight",  # of a batch norm
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


@dataclasses.dataclass(frozen=True)
class Conversion:
    """How a checkpoint becomes variables.

    Attributes:
        shapes: the shape of every variable, by path.
        keys: the checkpoint's key for every variable, by path.
        ignored_keys: a regular expression; the keys it matches as a whole are left out knowingly.
        ones: paths of the variables that are 1 and that the checkpoint therefore leaves out.
        transposed: paths of the kernels of transposed convolutions, which are [in, out, *spatial]
            in PyTorch.
        flax_kernels: kernels are [*spatial, in, out] there too, as TensorFlow has them; PyTorch's
            are [out, in, *spatial].
    """

    shapes: variables.Shapes
    keys: Mapping[str, str]
    ignored_keys: str = ""
    ones: Collection[str] = ()
    transposed: Collection[str] = ()
    flax_kernels: bool = False

    def channel_axes(self, path: str) -> tuple[int, int] | None:
        """The axes of the input and the output channels of a kernel in PyTorch's order of axes.

        None of a variable that has the same order in both.
        """
        if self.flax_kernels or not path.endswith("/kernel"):
            return None
        return (0, 1) if path in self.transposed else (1, 0)


def torch_keys(shapes: variables.Shapes) -> dict[str, str]:
    """PyTorch's keys for a network whose modules have the names that PyTorch's have.

    Args:
        shapes: the shape of every variable, by path: params/Mixed_5b/branch1x1/bn/scale.

    Returns:
        The checkpoint's key by path: Mixed_5b.branch1x1.bn.weight.
    """
    keys = {}
    for path in shapes:
        _, *modules, leaf = path.split("/")
        keys[path] = ".".join([*modules, _TORCH_LEAVES[leaf]])
    return keys


def convert_tensors(
    tensors: Mapping[str, np.ndarray], conversion: Conversion, source: str | os.PathLike
) -> dict[str, Any]:
    """Turns the tensors of a checkpoint into Flax variables.

    Kernels become [*spatial, in, out]; the rest is taken as it is.

    Args:
        tensors: the checkpoint, by key.
        conversion: which key becomes which variable.
        source: the checkpoint's file, for messages.

    Returns:
        Nested float32 variables; each key of the checkpoint is used or knowingly ignored.

    Raises:
        InputError: lists the keys that are missing, left over or of another shape, or a tensor
            holds no numbers.
    """
    paths = {key: path for path, key in conversion.keys.items()}
    expected = {key: _stored_shape(path, conversion) for key, path in paths.items()}
    found = {
        key: tensor.shape
        for key, tensor in tensors.items()
        if not re.fullmatch(conversion.ignored_keys, key)
    }
    variables.check_shapes(found, expected, source)
    flat = {path: np.ones(conversion.shapes[path], np.float32) for path in conversion.ones}
    for key, path in paths.items():
        tensor = tensors[key]
        if axes := conversion.channel_axes(path):
            tensor = np.moveaxis(tensor, axes, (-2, -1))
        try:
            flat[path] = tensor.astype(np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"{source}: {key}: {error}; expected numbers") from error
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def _stored_shape(path: str, conversion: Conversion) -> tuple[int, ...]:
    shape, axes = conversion.shapes[path], conversion.channel_axes(path)
    if axes is None:
        return shape
    *spatial, inputs, outputs = shape
    return (inputs, outputs, *spatial) if axes == (0, 1) else (outputs, inputs, *spatial)


def read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads a PyTorch checkpoint without executing anything in it.

    Args:
        path: a file that `torch.save` wrote from a dict of tensors, or from a dict of other things
            next to such a `state_dict`. The prefix of `DataParallel`, `module.`, is taken off.

    Returns:
        The tensors as float32 arrays, by key.

    Raises:
        InputError: PyTorch is not installed, or the file is no such checkpoint.
    """
    torch = import_torch()
    if not path.is_file():
        raise not_found(path, "a PyTorch checkpoint")
    try:
        require_stored_archive(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for files that it cannot or will not read
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{path}: {reason}; expected a PyTorch checkpoint of tensors") from error
    if isinstance(tensors, Mapping) and "state_dict" in tensors:
        tensors = tensors["state_dict"]
    is_named = isinstance(tensors, Mapping) and all(isinstance(key, str) for key in tensors)
    if not is_named or not all(map(torch.is_tensor, tensors.values())):
        raise InputError(f"{path}: found {type(tensors).__name__}, expected a dict of tensors")
    with reading_from(path, "a PyTorch checkpoint of dense tensors"):
        for key, tensor in tensors.items():  # which may be views of less than they show
            require_held(path, key, tensor.numel() * tensor.element_size())
        return {
            key.removeprefix("module."): tensor.float().numpy() for key, tensor in tensors.items()
        }


def import_torch() -> ModuleType:
    """Imports PyTorch.

    Raises:
        InputError: it is not installed; the message has the command that installs it.
    """
    try:
        import torch
    except ImportError as error:
        raise InputError("PyTorch is needed to read its checkpoint: pip install torch") from error
    return torch


def read_keras(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the weights that Keras 3 has saved (`.weights.h5`); Keras itself is not needed.

    Returns:
        The arrays by their path in the file, such as 'block1/layers/conv2d/vars/0'.

    Raises:
        InputError: the file is absent or damaged.
    """
    import h5py

    if not path.is_file():
        raise not_found(path, "Keras weights")
    arrays: dict[str, np.ndarray] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise ValueError(f"{name} in other files")
            require_held(path, name, item.nbytes)
            arrays[name] = item[()]

    with reading_from(path, "weights that Keras saved"), h5py.File(path) as file:
        file.visititems(keep)
    return arrays


def tensorflow_index(path: pathlib.Path) -> pathlib.Path | None:
    """The index of a TensorFlow checkpoint, which names its variables and has their checksums.

    Args:
        path: the checkpoint as TensorFlow names it, `model.ckpt`, or one of its files.

    Returns:
        `model.ckpt.index`; None if there is none.
    """
    name = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", path.name)
    index = path.parent / f"{name}.index"
    return index if index.is_file() else None


def read_tensorflow(index: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the variables of a TensorFlow checkpoint; its graph (`.meta`) is not looked at.

    Args:
        index: from `tensorflow_index`.

    Returns:
        The variables by name.

    Raises:
        InputError: TensorFlow is not installed, or the files are damaged.
    """
    try:
        import tensorflow as tf
    except ImportError as error:
        raise InputError(
            "TensorFlow is needed to read its checkpoint: pip install tensorflow"
        ) from error
    try:
        reader = tf.train.load_checkpoint(str(index.with_suffix("")))
        return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    except Exception as error:  # TensorFlow raises many types for files that it cannot read
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{index}: {reason}; expected a TensorFlow checkpoint") from error
