"""Translates a program of JAX to an ONNX graph, operation by operation.

What only depends on parameters is computed here, so that the file holds kernels as they are used.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Literal

from sflow_jax.errors import InputError
from sflow_jax.exporting.onnx_graph import Graph, Value
from sflow_jax.exporting.onnx_ops import RULES

_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # where operations keep functions that they call


def translate(graph: Graph, program: ClosedJaxpr, arguments: Sequence[Value]) -> list[Value]:
    """Adds a program to a graph.

    Args:
        graph: gets the nodes.
        program: of JAX.
        arguments: a `Value` for each of its inputs.

    Returns:
        A value for each of its results.

    Raises:
        InputError: ONNX lacks an operation.
    """
    known = dict(zip(program.jaxpr.invars, arguments, strict=True))
    for variable, constant in zip(program.jaxpr.constvars, program.consts, strict=True):
        known[variable] = Value(variable.aval, array=np.asarray(constant))

    def read(atom: Any) -> Value:
        if isinstance(atom, Literal):
            aval: Any = atom.aval
            return Value(aval, array=np.asarray(atom.val, aval.dtype))
        return known[atom]

    for equation in program.jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        inner = _inner_program(equation)
        if inner is not None:
            results = translate(graph, inner, operands)
        elif all(operand.is_foldable for operand in operands) and _is_static(equation):
            results = _computed(equation, operands)
        else:
            results = [_by_rule(graph, equation, operands)]
        known.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in program.jaxpr.outvars]


def _by_rule(graph: Graph, equation: Any, operands: Sequence[Value]) -> Value:
    name = equation.primitive.name
    try:
        if name not in RULES:
            raise NotImplementedError("any of it")
        return RULES[name](graph, equation, *operands)
    except NotImplementedError as error:
        raise InputError(
            f"--output: found the operation {name!r} in the networks of this run, of which the "
            f"export to ONNX does not know {error}; expected another run, or a .stablehlo file"
        ) from error


def _inner_program(equation: Any) -> ClosedJaxpr | None:
    for name in _INNER:
        inner = equation.params.get(name)
        if inner is not None:
            return inner if hasattr(inner, "consts") else ClosedJaxpr(inner, ())
    return None


def _is_static(equation: Any) -> bool:
    sizes = [side for result in equation.outvars for side in result.aval.shape]
    return equation.primitive.name != "broadcast_in_dim" and all(
        isinstance(side, int) for side in sizes
    )


def _computed(equation: Any, operands: Sequence[Value]) -> list[Value]:
    arrays = [operand.array for operand in operands]
    results = equation.primitive.bind(*arrays, **equation.params)
    results = results if equation.primitive.multiple_results else [results]
    return [
        Value(variable.aval, array=np.asarray(result))
        for variable, result in zip(equation.outvars, results, strict=True)
    ]
