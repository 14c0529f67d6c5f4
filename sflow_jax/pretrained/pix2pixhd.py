"""NVIDIA/pix2pixHD's official checkpoints: which network a file holds, and its variables.

`latest_net_G.pth` and `latest_net_E.pth` are tensors by key and say nothing else: which network
they are of, how wide and how deep, is inferred from keys and shapes. The keys are those of
`GlobalGenerator`, `LocalEnhancer` and `Encoder` in models/networks.py there.
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from sflow_jax import variables
from sflow_jax.errors import InputError
from sflow_jax.models.generator import GlobalGenerator, LocalEnhancer
from sflow_jax.models.pix2pixhd import InstanceEncoder
from sflow_jax.pretrained import conversion
from sflow_jax.pretrained.conversion import Conversion

Generator = GlobalGenerator | LocalEnhancer
Module = TypeVar("Module", bound=nn.Module)

# Instance norm of PyTorch before 0.4 stored them, and never used them.
_STATISTICS = r".*\.(running_mean|running_var|num_batches_tracked)"
_ENCODER_LAST = (29, 28)  # in today's code, and in the published file, which is older


@dataclasses.dataclass(frozen=True)
class OfficialNetwork(Generic[Module]):
    """A network of an official checkpoint.

    Attributes:
        module: the network, as wide and deep as the checkpoint's.
        params: its parameters, `{'params': ...}`, float32 NumPy arrays.
        num_inputs: channels that it sees.
        num_biases: how many biases before instance norms were left out: the norm subtracts them.
        num_statistics: how many running statistics of instance norms were left out.
    """

    module: Module
    params: dict[str, Any]
    num_inputs: int
    num_biases: int
    num_statistics: int

    @property
    def num_parameters(self) -> int:
        """Without what was left out."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.params))


def read_generator(path: pathlib.Path) -> OfficialNetwork[Generator]:
    """Reads a generator, `latest_net_G.pth`: a global one or a local enhancer around it.

    Raises:
        InputError: PyTorch is not installed, or the file is absent or holds something else.
    """
    tensors = conversion.read_torch(path)
    stem = _kernel(tensors, "model.1.weight", path, "a generator of pix2pixHD")
    depth = (_num_downsamplings(tensors, stem.shape[0]), _num_blocks(tensors, "model"))
    if "model1_1.1.weight" in tensors:
        fine = _kernel(tensors, "model1_1.1.weight", path, "a local enhancer of pix2pixHD")
        num_local_blocks = _num_blocks(tensors, "model1_2")
        module: Generator = LocalEnhancer(fine.shape[0], *depth, num_local_blocks)
        names, multiple = local_enhancer_names(*depth, num_local_blocks), 2 ** (depth[0] + 1)
    else:
        module = GlobalGenerator(stem.shape[0], *depth)
        names, multiple = global_generator_names(*depth), 2 ** depth[0]
    label_map = _images(multiple, stem.shape[1])
    return _convert(module, names, [label_map], tensors, path)


def read_encoder(path: pathlib.Path) -> OfficialNetwork[InstanceEncoder]:
    """Reads an encoder of instance features, `latest_net_E.pth`, of the official width and depth.

    The published file has its last layer one place earlier than today's code: both are read.

    Raises:
        InputError: PyTorch is not installed, or the file is absent or holds something else.
    """
    tensors = conversion.read_torch(path)
    keys = {last: f"model.{last}.weight" for last in _ENCODER_LAST}
    last = next((last for last, key in keys.items() if key in tensors), None)
    if last is None:
        raise InputError(
            f"{path}: found no {' and no '.join(keys.values())}, expected one of them as the last "
            "layer of an encoder of pix2pixHD"
        )
    features = _kernel(tensors, keys[last], path, "an encoder of pix2pixHD")
    module = InstanceEncoder(features.shape[0])
    halvings = module.num_downsamplings
    image = _images(2**halvings, 3)
    instance = jax.ShapeDtypeStruct((*image.shape[:3], 1), jnp.uint16)
    return _convert(module, encoder_names(halvings, last), [image, instance], tensors, path)


def global_generator_names(num_downsamplings: int, num_blocks: int) -> dict[str, str]:
    """Our layers of `GlobalGenerator`, by path, and the official names of them."""
    names = _trunk_names(num_downsamplings, num_blocks)
    last = 4 + 6 * num_downsamplings + num_blocks + 1
    return names | {"to_image/Conv_0": f"model.{last}"}


def local_enhancer_names(
    num_downsamplings: int, num_blocks: int, num_local_blocks: int
) -> dict[str, str]:
    """Our layers of `LocalEnhancer`, by path, and the official names of them."""
    names = _trunk_names(num_downsamplings, num_blocks)
    names |= {"stem/Conv_0": "model1_1.1", "down/Conv_0": "model1_1.4"}
    for block in range(num_local_blocks):
        names |= _block_names(f"block_{block}", f"model1_2.{block}")
    names["up/UpsampleConv_0"] = f"model1_2.{num_local_blocks}"
    return names | {"to_image/Conv_0": f"model1_2.{num_local_blocks + 4}"}


def encoder_names(num_downsamplings: int, last: int | None = None) -> dict[str, str]:
    """Our layers of `InstanceEncoder`, by path, and the official names of them.

    Args:
        num_downsamplings: halvings.
        last: the number of the last layer, if not that of today's code.
    """
    names = _trunk_names(num_downsamplings, 0)
    if last is None:
        last = 4 + 6 * num_downsamplings + 1
    return names | {"to_features/Conv_0": f"model.{last}"}


def _trunk_names(num_downsamplings: int, num_blocks: int) -> dict[str, str]:
    names = {"trunk/stem/Conv_0": "model.1"}
    for level in range(num_downsamplings):
        names[f"trunk/down_{level + 1}/Conv_0"] = f"model.{4 + 3 * level}"
    first_block = 4 + 3 * num_downsamplings
    for block in range(num_blocks):
        names |= _block_names(f"trunk/block_{block}", f"model.{first_block + block}")
    first_up = first_block + num_blocks
    for level in range(num_downsamplings):
        ours = f"trunk/up_{num_downsamplings - 1 - level}/UpsampleConv_0"
        names[ours] = f"model.{first_up + 3 * level}"
    return names


def _block_names(ours: str, theirs: str) -> dict[str, str]:
    return {
        f"{ours}/ReflectConv_0/Conv_0": f"{theirs}.conv_block.1",
        f"{ours}/ReflectConv_1/Conv_0": f"{theirs}.conv_block.5",
    }


def _kernel(
    tensors: Mapping[str, np.ndarray], key: str, path: pathlib.Path, expected: str
) -> np.ndarray:
    """The kernel of a convolution, which a checkpoint of this network has to have."""
    if key not in tensors or tensors[key].ndim != 4:
        raise InputError(f"{path}: found no kernel {key}, expected {expected}")
    return tensors[key]


def _num_downsamplings(tensors: Mapping[str, np.ndarray], width: int) -> int:
    """How often the trunk halves its input: each time it doubles the channels."""
    layers = [x for key, x in tensors.items() if re.fullmatch(r"model\.\d+\.weight", key)]
    most = max(x.shape[0] for x in layers if x.ndim == 4)
    return (most // width).bit_length() - 1


def _num_blocks(tensors: Mapping[str, np.ndarray], sequence: str) -> int:
    """The number of residual blocks of one of the network's sequences of layers."""
    first = re.escape(sequence) + r"\.\d+\.conv_block\.1\.weight"
    return sum(re.fullmatch(first, key) is not None for key in tensors)


def _images(multiple: int, channels: int) -> jax.ShapeDtypeStruct:
    """An image that can be halved and padded; variables do not depend on its size."""
    side = 4 * multiple
    return jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)


def _convert(
    module: Module,
    names: Mapping[str, str],
    inputs: Sequence[jax.ShapeDtypeStruct],
    tensors: Mapping[str, np.ndarray],
    path: pathlib.Path,
) -> OfficialNetwork[Module]:
    """Converts all tensors of a network.

    Args:
        module: the network.
        names: the official names of its layers.
        inputs: what it is called with; the first is what is counted as its input.
        tensors: of the checkpoint.
        path: of the checkpoint, for messages.

    Raises:
        InputError: lists the keys that are missing, left over or of another shape.
    """
    shapes = variables.shapes_of(jax.eval_shape(module.init, jax.random.key(0), *inputs))
    keys = {variable: _key(variable, names) for variable in shapes}
    biases = {f"{name}.bias" for name in names.values()} - set(keys.values())
    rules = Conversion(
        shapes,
        keys,
        ignored_keys="|".join([_STATISTICS, *map(re.escape, biases)]),
        transposed=[variable for variable in shapes if "/UpsampleConv_0/" in variable],
    )
    params = conversion.convert_tensors(tensors, rules, path)
    num_statistics = sum(re.fullmatch(_STATISTICS, key) is not None for key in tensors)
    num_inputs = inputs[0].shape[-1]
    return OfficialNetwork(module, params, num_inputs, len(biases & set(tensors)), num_statistics)


def _key(variable: str, names: Mapping[str, str]) -> str:
    """The official key of a variable: 'params/trunk/stem/Conv_0/kernel' is model.1.weight."""
    layer, _, leaf = variable.removeprefix("params/").rpartition("/")
    return f"{names[layer]}.{'weight' if leaf == 'kernel' else 'bias'}"
