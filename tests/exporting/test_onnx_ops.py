"""Cases of operations that the rules do not handle: each is refused, none is exported wrongly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from sflow_jax.errors import InputError

pytest.importorskip("onnx", reason="no onnx")
from sflow_jax.exporting.onnx_graph import Graph, Value
from sflow_jax.exporting.onnx_program import translate

IMAGES = jax.ShapeDtypeStruct((1, 8, 8, 2), np.float32)
ROW = jax.ShapeDtypeStruct((4,), np.float32)
NUMBERS = jax.ShapeDtypeStruct((4,), np.int32)
BITS = jax.ShapeDtypeStruct((4,), np.uint32)
BATCH = jax.ShapeDtypeStruct(export.symbolic_shape("b, 4"), np.float32)
LAYOUT = ("NHWC", "HWIO", "NHWC")


def translated(function, *specs):
    program = jax.jit(function).trace(*specs).jaxpr
    names = [f"input_{index}" for index in range(len(specs))]
    values = [Value(spec, name=name) for spec, name in zip(specs, names, strict=True)]
    graph = Graph(batch_of=names[0])
    return graph, translate(graph, program, values)


def transposed(images, channels=2, strides=(1, 1), **options):
    kernel = np.ones((3, 3, channels, 2), np.float32)
    return lax.conv_general_dilated(
        images, kernel, strides, [(2, 2)] * 2, (2, 2), dimension_numbers=LAYOUT, **options
    )


def window_sum(window, strides=(1, 1, 1, 1), **options):
    return lambda x: lax.reduce_window(x, 0.0, lax.add, window, strides, "VALID", **options)


@pytest.mark.parametrize(
    ("function", "specs", "message"),
    [
        (lambda which, x: lax.select_n(which, x, -x, 2 * x), (NUMBERS, ROW), "cases that are"),
        (lambda x: transposed(x, 1, feature_group_count=2), (IMAGES,), "transposed ones with"),
        (lambda x: transposed(x, strides=(2, 2)), (IMAGES,), "transposed ones with"),
        (lambda x: transposed(x, rhs_dilation=(2, 2)), (IMAGES,), "transposed ones with"),
        (window_sum((1, 2, 2, 2)), (IMAGES,), "windows over other axes"),
        (window_sum((1, 2, 2, 1), window_dilation=(1, 2, 2, 1)), (IMAGES,), "windows over other"),
        (lambda x, y: lax.sort((x, y))[1], (ROW, NUMBERS), "arrays in the order of another"),
        (lambda x: x + np.uint32(1), (BITS,), "the type uint32"),
        (lambda x: x.reshape(-1), (BATCH,), r"the size 4\*b"),
    ],
)
def test_a_case_that_is_not_known_is_refused(function, specs, message):
    with pytest.raises(InputError, match=f"does not know {message}"):
        translated(function, *specs)


def test_only_unsigned_integers_are_converted_to_be_computed_with():
    def casts(function, *specs):
        return [node.op_type for node in translated(function, *specs)[0].nodes].count("Cast")

    mask, levels = (jax.ShapeDtypeStruct((4,), dtype) for dtype in (np.bool_, np.uint8))
    assert casts(jnp.logical_and, mask, mask) == 0
    assert casts(lambda x, y: x + y, levels, levels) == 3  # there twice, and back
