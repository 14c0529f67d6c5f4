"""DNED's topology against HED as sniklaus/pytorch-hed has it, at HED's width.

The live comparison runs where SFLOW_HED names a checkout and PyTorch is installed; the golden
values that it gave are checked always.
"""

import os

import numpy as np
import pytest

from tests.fast_jit import fast_jit
from tests.parity import cases, hed

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def reference():
    if not os.environ.get("SFLOW_HED"):
        pytest.skip("SFLOW_HED does not name a checkout of sniklaus/pytorch-hed")
    pytest.importorskip("torch")
    return hed.create_network(os.environ["SFLOW_HED"], cases.dned()[1])


@pytest.mark.parametrize("size", [*cases.DNED_SIZES, (16, 16), (31, 100)])
def test_side_outputs_and_fusion(reference, size):
    module, params = cases.dned()
    x = cases.noise(1, *size, 3)
    expected = hed.logits(reference, x)
    found = fast_jit(module.apply)(params, x)
    assert len(found) == len(expected) == 6
    for stage, (ours, theirs) in enumerate(zip(found, expected, strict=True), start=1):
        # At 16x16 the fifth stage is one pixel, whose score fills the whole map.
        assert theirs.std() > 1e-2 or (stage == 5 and size == (16, 16))
        np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


@pytest.mark.parametrize("size", cases.DNED_SIZES)
def test_golden_values(size):
    module, params = cases.dned()
    found = fast_jit(module.apply)(params, cases.noise(1, *size, 3))
    expected = cases.load_golden("hed")["{}x{}".format(*size)]
    np.testing.assert_allclose([cases.summary(x) for x in found], expected, atol=TOLERANCE)
