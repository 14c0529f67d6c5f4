"""JAX's operations in ONNX's: one function for each, or one for all that only differ in name.

A function that does not know a case raises `NotImplementedError`.
"""

import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sflow_jax.exporting.onnx_graph import Graph, Value

_LAST = np.iinfo(np.int64).max

Rule = Callable[..., Value]


def _elementwise(operation: str, negated: bool = False) -> Rule:
    def rule(graph: Graph, equation: Any, *operands: Value) -> Value:
        result = equation.outvars[0].aval
        inputs = [_widened(graph, operand) for operand in operands]
        name = graph.add(operation, inputs)
        if negated:
            name = graph.add("Not", [name])
        if _is_unsigned(result):
            name = graph.cast(name, result.dtype)
        return Value(result, name, is_small=_stays_small(operands))

    return rule


def _stays_small(operands: Sequence[Value]) -> bool:
    return all(operand.is_small or not operand.aval.shape for operand in operands) and any(
        operand.is_small for operand in operands
    )


def _widened(graph: Graph, operand: Value) -> str:
    """The name of an operand in a type that runtimes compute in, which unsigned ones are not."""
    name = graph.small(operand)
    return graph.cast(name, np.int32) if _is_unsigned(operand.aval) else name


def _is_unsigned(aval: Any) -> bool:
    if aval.dtype.kind == "u" and aval.dtype.itemsize >= np.dtype(np.int32).itemsize:
        raise NotImplementedError(f"the type {aval.dtype}")  # whose numbers int32 cannot hold
    return aval.dtype.kind == "u"


def _square(graph: Graph, equation: Any, x: Value) -> Value:
    return _elementwise("Mul")(graph, equation, x, x)


def _rsqrt(graph: Graph, equation: Any, x: Value) -> Value:
    root = graph.add("Sqrt", [graph.small(x)])
    return Value(x.aval, graph.add("Reciprocal", [root]), is_small=x.is_small)


def _clamp(graph: Graph, equation: Any, low: Value, x: Value, high: Value) -> Value:
    bounded = graph.add("Max", [graph.small(low), graph.full(x)])
    return Value(x.aval, graph.add("Min", [bounded, graph.small(high)]))


def _select(graph: Graph, equation: Any, which: Value, *cases: Value) -> Value:
    if len(cases) != 2 or which.aval.dtype != np.bool_:
        raise NotImplementedError("cases that are numbered")
    result = equation.outvars[0].aval
    names = [graph.small(value) for value in (which, *reversed(cases))]
    return Value(result, graph.add("Where", names), is_small=_stays_small((which, *cases)))


def _convert(graph: Graph, equation: Any, x: Value) -> Value:
    dtype = equation.params["new_dtype"]
    return Value(equation.outvars[0].aval, graph.cast(graph.small(x), dtype), is_small=x.is_small)


def _unchanged(graph: Graph, equation: Any, x: Value) -> Value:
    return x


def _broadcast(graph: Graph, equation: Any, x: Value) -> Value:
    result, axes = equation.outvars[0].aval, equation.params["broadcast_dimensions"]
    sizes = [1] * len(result.shape)
    for axis, size in zip(axes, x.aval.shape, strict=True):
        sizes[axis] = size
    is_small = tuple(sizes) != tuple(result.shape)
    if x.is_foldable and x.array is not None:
        return Value(result, array=x.array.reshape(sizes), is_small=is_small)
    return Value(result, graph.add("Reshape", [graph.full(x), graph.shape(sizes)]), None, is_small)


def _reshape(graph: Graph, equation: Any, x: Value) -> Value:
    result = equation.outvars[0].aval
    return Value(result, graph.add("Reshape", [graph.full(x), graph.shape(result.shape)]))


def _transpose(graph: Graph, equation: Any, x: Value) -> Value:
    order = equation.params["permutation"]
    return Value(equation.outvars[0].aval, graph.add("Transpose", [graph.full(x)], perm=order))


def _concatenate(graph: Graph, equation: Any, *parts: Value) -> Value:
    axis = equation.params["dimension"]
    # JAX pads by nothing at sides that need no padding.
    names = [graph.full(part) for part in parts if part.aval.shape[axis] != 0]
    return Value(equation.outvars[0].aval, graph.add("Concat", names, axis=axis))


def _stack(graph: Graph, equation: Any, *parts: Value) -> Value:
    axis = equation.params["axis"]
    where = graph.integers([axis])
    names = [graph.add("Unsqueeze", [graph.full(part), where]) for part in parts]
    return Value(equation.outvars[0].aval, graph.add("Concat", names, axis=axis))


def _cut(
    graph: Graph, x: str, axes: Sequence[int], starts: Sequence, stops: Sequence, steps: Sequence
) -> str:
    lists = [graph.integers(numbers) for numbers in (starts, stops, axes, steps)]
    return graph.add("Slice", [x, *lists])


def _slice(graph: Graph, equation: Any, x: Value) -> Value:
    params, some = equation.params, []
    strides = params["strides"] or (1,) * len(x.aval.shape)
    cuts = zip(params["start_indices"], params["limit_indices"], strides, x.aval.shape, strict=True)
    for axis, (start, stop, stride, size) in enumerate(cuts):
        if (start, stop, stride) != (0, size, 1):
            start = start if isinstance(start, int) else start - size  # from the end
            some.append((axis, start, _LAST if stop == size else stop, stride))
    axes, starts, stops, steps = zip(*some, strict=True) if some else ((),) * 4
    return Value(equation.outvars[0].aval, _cut(graph, graph.full(x), axes, starts, stops, steps))


def _reverse(graph: Graph, equation: Any, x: Value) -> Value:
    axes = equation.params["dimensions"]
    ends, steps = [-1] * len(axes), [-1] * len(axes)
    stops = [-_LAST] * len(axes)
    return Value(equation.outvars[0].aval, _cut(graph, graph.full(x), axes, ends, stops, steps))


def _gather(graph: Graph, equation: Any, x: Value, indices: Value) -> Value:
    """A slice at a known place, or entries along one axis."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    result, axes = equation.outvars[0].aval, numbers.start_index_map
    collapsed = numbers.collapsed_slice_dims
    if indices.is_foldable and indices.array is not None and indices.array.ndim == 1:
        starts = indices.array.tolist()
        stops = [start + sizes[axis] for start, axis in zip(starts, axes, strict=True)]
        name = _cut(graph, graph.full(x), axes, starts, stops, [1] * len(axes))
        if collapsed:
            name = graph.add("Squeeze", [name, graph.integers(collapsed)])
        return Value(result, name)
    kept = [axis for axis in range(len(result.shape)) if axis not in axes]
    if len(axes) != 1 or collapsed != axes or list(numbers.offset_dims) != kept:
        raise NotImplementedError("reads of several axes")
    entries = graph.add("Squeeze", [graph.full(indices), graph.integers([-1])])
    return Value(result, graph.add("Gather", [graph.full(x), entries], axis=axes[0]))


def _pad(graph: Graph, equation: Any, x: Value, filling: Value) -> Value:
    before, behind, inside = zip(*equation.params["padding_config"], strict=True)
    if any(inside):
        raise NotImplementedError("padding between pixels")
    inputs = [graph.full(x), graph.integers([*before, *behind]), graph.full(filling)]
    return Value(equation.outvars[0].aval, graph.add("Pad", inputs))


def _reduce(operation: str) -> Rule:
    def rule(graph: Graph, equation: Any, x: Value) -> Value:
        axes = graph.integers(equation.params["axes"])
        name = graph.add(operation, [graph.full(x), axes], keepdims=0)
        return Value(equation.outvars[0].aval, name)

    return rule


def _reduce_or(graph: Graph, equation: Any, x: Value) -> Value:
    numbers = graph.cast(graph.full(x), np.int32)
    name = graph.add("ReduceMax", [numbers, graph.integers(equation.params["axes"])], keepdims=0)
    return Value(equation.outvars[0].aval, graph.cast(name, np.bool_))


def _window_sum(graph: Graph, equation: Any, x: Value) -> Value:
    """Of images [B, H, W, C]: an average pool that counts the padding, times the window."""
    params = equation.params
    window, strides, padding = (
        params[key] for key in ("window_dimensions", "window_strides", "padding")
    )
    along_images = [(window[axis], strides[axis], *padding[axis]) for axis in (0, -1)]
    dilations = {*params["base_dilation"], *params["window_dilation"]}
    if len(window) != 4 or set(along_images) != {(1, 1, 0, 0)} or dilations != {1}:
        raise NotImplementedError("windows over other axes than height and width, or with gaps")
    images = graph.add("Transpose", [graph.full(x)], perm=(0, 3, 1, 2))
    before, behind = zip(*padding[1:3], strict=True)
    mean = graph.add(
        "AveragePool", [images], kernel_shape=window[1:3], strides=strides[1:3],
        pads=[*before, *behind], count_include_pad=1,
    )  # fmt: skip
    total = graph.add("Mul", [mean, graph.constant(np.float32(np.prod(window)))])
    name = graph.add("Transpose", [total], perm=(0, 2, 3, 1))
    return Value(equation.outvars[0].aval, name)


def _sort(graph: Graph, equation: Any, x: Value, *others: Value) -> Value:
    if others:
        raise NotImplementedError("arrays in the order of another")
    axis = equation.params["dimension"]
    length = graph.integers([x.aval.shape[axis]])
    output = graph.add("TopK", [graph.full(x), length], num_outputs=2, axis=axis, largest=0)
    return Value(equation.outvars[0].aval, output)


def _dot(graph: Graph, equation: Any, x: Value, y: Value) -> Value:
    (sum_x, sum_y), (batch_x, batch_y) = equation.params["dimension_numbers"]
    letters = iter(string.ascii_lowercase)
    of_x = [next(letters) for _ in x.aval.shape]
    of_y = [next(letters) for _ in y.aval.shape]
    for i, j in zip((*sum_x, *batch_x), (*sum_y, *batch_y), strict=True):
        of_y[j] = of_x[i]
    free_x = [c for i, c in enumerate(of_x) if i not in (*sum_x, *batch_x)]
    free_y = [c for j, c in enumerate(of_y) if j not in (*sum_y, *batch_y)]
    result = [*(of_x[i] for i in batch_x), *free_x, *free_y]
    subscripts = f"{''.join(of_x)},{''.join(of_y)}->{''.join(result)}"
    name = graph.add("Einsum", [graph.full(x), graph.full(y)], equation=subscripts)
    return Value(equation.outvars[0].aval, name)


def _convolve(graph: Graph, equation: Any, x: Value, kernel: Value) -> Value:
    params = equation.params
    numbers = params["dimension_numbers"]
    images = graph.add("Transpose", [graph.full(x)], perm=numbers.lhs_spec)
    if kernel.array is None:
        raise NotImplementedError("a kernel that is no constant")
    if params["batch_group_count"] != 1:
        raise NotImplementedError("groups of a batch")
    taps = kernel.array.transpose(numbers.rhs_spec)  # [O, C, kh, kw]
    before, behind = zip(*params["padding"], strict=True)
    dilation = params["lhs_dilation"]
    if set(dilation) == {1}:
        name = graph.add(
            "Conv", [images, graph.constant(taps)], strides=params["window_strides"],
            pads=[*before, *behind], dilations=params["rhs_dilation"],
            group=params["feature_group_count"],
        )  # fmt: skip
    else:  # with zeros between the pixels: transposed, by the kernel that is turned round
        steps = {*params["window_strides"], *params["rhs_dilation"]}
        if params["feature_group_count"] != 1 or steps != {1}:
            raise NotImplementedError("transposed ones with groups, strides or gaps")
        turned = np.ascontiguousarray(taps[:, :, ::-1, ::-1].swapaxes(0, 1))
        reach = [side - 1 for side in taps.shape[2:]]
        missing = [far - side for far, side in zip(behind, reach, strict=True)]
        pads = [side - near for near, side in zip(before, reach, strict=True)]
        pads += [max(0, -number) for number in missing]
        name = graph.add(
            "ConvTranspose", [images, graph.constant(turned)], strides=dilation, pads=pads,
            output_padding=[max(0, number) for number in missing],
        )  # fmt: skip
    order = np.argsort(numbers.out_spec).tolist()
    return Value(equation.outvars[0].aval, graph.add("Transpose", [name], perm=order))


RULES: dict[str, Rule] = {
    "abs": _elementwise("Abs"),
    "add": _elementwise("Add"),
    "and": _elementwise("And"),
    "broadcast_in_dim": _broadcast,
    "ceil": _elementwise("Ceil"),
    "clamp": _clamp,
    "concatenate": _concatenate,
    "conv_general_dilated": _convolve,
    "convert_element_type": _convert,
    "copy": _unchanged,
    "div": _elementwise("Div"),
    "dot_general": _dot,
    "eq": _elementwise("Equal"),
    "exp": _elementwise("Exp"),
    "floor": _elementwise("Floor"),
    "gather": _gather,
    "ge": _elementwise("GreaterOrEqual"),
    "gt": _elementwise("Greater"),
    "le": _elementwise("LessOrEqual"),
    "log": _elementwise("Log"),
    "logistic": _elementwise("Sigmoid"),
    "lt": _elementwise("Less"),
    "max": _elementwise("Max"),
    "min": _elementwise("Min"),
    "mul": _elementwise("Mul"),
    "ne": _elementwise("Equal", negated=True),
    "neg": _elementwise("Neg"),
    "not": _elementwise("Not"),
    "or": _elementwise("Or"),
    "pad": _pad,
    "reduce_max": _reduce("ReduceMax"),
    "reduce_min": _reduce("ReduceMin"),
    "reduce_or": _reduce_or,
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_window_sum": _window_sum,
    "reshape": _reshape,
    "rev": _reverse,
    "round": _elementwise("Round"),
    "rsqrt": _rsqrt,
    "select_n": _select,
    "slice": _slice,
    "sort": _sort,
    "sqrt": _elementwise("Sqrt"),
    "square": _square,
    "squeeze": _reshape,
    "stack": _stack,
    "stop_gradient": _unchanged,
    "sub": _elementwise("Sub"),
    "tanh": _elementwise("Tanh"),
    "transpose": _transpose,
}
"""By the name of JAX's operation."""
