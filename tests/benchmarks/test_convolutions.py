import jax
import numpy as np
import pytest

from benchmarks import convolutions


@pytest.mark.parametrize("layer", convolutions.layers((16, 32, 2)), ids=lambda layer: layer.name)
def test_both_forms_of_a_layer_compute_the_same(layer):
    arrays = layer.arrays("float32")
    ours, plain = (
        convolutions.operations(apply, *arrays) for apply in (layer.apply_ours, layer.apply_plain)
    )
    assert list(ours) == list(convolutions.OPERATIONS)
    for operation, function in ours.items():
        expected = plain[operation]()
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(function(), expected, rtol=1e-4, atol=1e-3)


def test_operations_are_those_that_xla_counts():
    without_padding = [x for x in convolutions.layers((64, 128, 32)) if x.padding == 0]
    for layer in without_padding:
        x, kernel, cotangent = layer.arrays("float32")
        compiled = jax.jit(layer.apply_plain).lower(x, kernel)
        assert layer.gflop(cotangent) * 1e9 == pytest.approx(compiled.cost_analysis()["flops"])


def test_transposed_layers_double():
    (layer,) = (x for x in convolutions.layers((16, 32, 2)) if x.is_transposed)
    assert layer.arrays("float32")[2].shape == (1, 16, 32, 2)
