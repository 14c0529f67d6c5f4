"""The values of a program and the nodes of an ONNX graph.

JAX broadcasts before an operation, ONNX in it. So a value that is broadcast keeps its small shape
until an operation needs all of it.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx


@dataclasses.dataclass(frozen=True)
class Value:
    """What a variable of a program is in the graph.

    Attributes:
        aval: its shape and type in the program.
        name: in the graph; empty for a constant.
        array: of a constant.
        is_small: whether it still has to be broadcast to its shape.
    """

    aval: Any
    name: str = ""
    array: np.ndarray | None = None
    is_small: bool = False

    @property
    def is_foldable(self) -> bool:
        """Whether what is computed of it alone can be computed now."""
        return self.array is not None and not self.is_small


class Graph:
    """Nodes and constants in the order in which they were added.

    Args:
        batch_of: the input whose first axis is the batch.
    """

    def __init__(self, batch_of: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._batch_of = batch_of
        self._count = 0

    def add(
        self, operation: str, inputs: Sequence[str], num_outputs: int = 1, **attributes: Any
    ) -> str:
        """Adds a node; returns the name of its first result."""
        outputs = [self._new_name(operation) for _ in range(num_outputs)]
        self.nodes.append(onnx.helper.make_node(operation, list(inputs), outputs, **attributes))
        return outputs[0]

    def constant(self, array: Any) -> str:
        """Adds a constant; returns its name."""
        name = self._new_name("constant")
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def integers(self, numbers: Sequence[Any]) -> str:
        """Adds a list of sizes or axes, as ONNX wants them."""
        return self.constant(np.array([int(number) for number in numbers], np.int64))

    def shape(self, sizes: Sequence[Any]) -> str:
        """Adds a shape, in which the size of the batch may be open.

        Raises:
            NotImplementedError: another size is open.
        """
        open_sizes = {str(size) for size in sizes if not isinstance(size, int)}
        if not open_sizes:
            return self.integers(sizes)
        if open_sizes != {"b"}:
            raise NotImplementedError(f"the size {', '.join(sorted(open_sizes))}")
        batch = self.add("Shape", [self._batch_of], start=0, end=1)
        parts = [self.integers([size]) if isinstance(size, int) else batch for size in sizes]
        return self.add("Concat", parts, axis=0)

    def small(self, value: Value) -> str:
        """The name of a value that ONNX may broadcast."""
        return value.name or self.constant(value.array)

    def full(self, value: Value) -> str:
        """The name of a value in its whole shape."""
        name = self.small(value)
        return self.add("Expand", [name, self.shape(value.aval.shape)]) if value.is_small else name

    def cast(self, name: str, dtype: Any) -> str:
        """Adds a conversion to a type of NumPy."""
        return self.add("Cast", [name], to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def finish(self, result: str, output: str) -> None:
        """Names the output, and drops what it does not depend on."""
        self.nodes.append(onnx.helper.make_node("Identity", [result], [output]))
        needed = {output}
        for node in reversed(self.nodes):
            if node.output[0] in needed:
                needed.update(node.input)
        self.nodes = [node for node in self.nodes if node.output[0] in needed]
        self.constants = [constant for constant in self.constants if constant.name in needed]

    def _new_name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"


def describe_value(name: str, dtype: Any, shape: Sequence[str]) -> onnx.ValueInfoProto:
    """An input or output; axes that are not numbers are open."""
    axes = [int(axis) if axis.isdigit() else axis for axis in shape]
    element_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return onnx.helper.make_tensor_value_info(name, element_type, axes)
