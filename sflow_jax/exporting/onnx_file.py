"""A sampler as an ONNX file."""

from collections.abc import Mapping

import jax
import numpy as np
from jax import export

from sflow_jax.errors import InputError
from sflow_jax.exporting.sampler import Exported, Sampler, describe

INSTALL = 'pip install -c constraints.txt -e ".[onnx]"'
OUTPUT = "picture"

_OPSET, _IR_VERSION = 18, 9  # of 2023, so that older runtimes can load it


def to_onnx(sampler: Sampler, sizes: Mapping[str, int]) -> Exported:
    """Exports for batches of any size.

    Args:
        sampler: what to export.
        sizes: those of 'h' and 'w', and of 'b' where it is to be fixed.

    Raises:
        InputError: the package onnx is missing, or ONNX lacks an operation.
    """
    try:
        import onnx
    except ImportError as error:
        raise InputError(f"--output: found no package onnx; expected {INSTALL}") from error
    from sflow_jax.exporting import onnx_graph, onnx_program

    scope = export.SymbolicScope()
    graph = onnx_graph.Graph(batch_of=next(iter(sampler.inputs)))
    values, specs, inputs = [], [], []
    for name, argument in sampler.inputs.items():
        shape = argument.shape(sizes)
        symbolic = export.symbolic_shape(", ".join(shape), scope=scope)
        specs.append(jax.ShapeDtypeStruct(symbolic, argument.dtype))
        values.append(onnx_graph.Value(specs[-1], name=name))
        inputs.append(onnx_graph.describe_value(name, argument.dtype, shape))
    program = jax.jit(sampler).trace(*specs).jaxpr
    (picture,) = onnx_program.translate(graph, program, values)
    graph.finish(picture.name, OUTPUT)
    outputs = [onnx_graph.describe_value(OUTPUT, np.uint8, tuple(map(str, picture.aval.shape)))]
    model = onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, "sampler", inputs, outputs, graph.constants),
        opset_imports=[onnx.helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="sflow_jax",
    )
    onnx.checker.check_model(model)
    shapes = {
        name: describe(argument.dtype, argument.shape(sizes))
        for name, argument in sampler.inputs.items()
    }
    return Exported(model.SerializeToString(), shapes)
