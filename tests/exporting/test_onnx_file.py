import sys

import pytest

from sflow_jax.errors import InputError
from sflow_jax.exporting import onnx_file
from sflow_jax.exporting.sampler import Sampler, make_sampler
from tests.exporting.conftest import assert_same_pictures, frames


@pytest.fixture(scope="module")
def session(local_model):
    onnxruntime = pytest.importorskip("onnxruntime", reason=f"no onnx: {onnx_file.INSTALL}")
    content = onnx_file.to_onnx(make_sampler(local_model), {"h": 33, "w": 47}).content
    return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("count", [1, 3])
def test_batches_of_any_size_are_those_of_sampling(session, local_model, count):
    given = frames(count, (33, 47))
    inputs = {"edge_image" if k == "cg" else k: v for k, v in vars(given).items()}
    (found,) = session.run(None, inputs)
    assert_same_pictures(found, given.expected(local_model))


def test_inputs_and_output_are_named(session):
    found = {x.name: (x.type, x.shape) for x in session.get_inputs()}
    assert found == {
        "label": ("tensor(uint8)", ["b", 33, 47, 1]),
        "edge_image": ("tensor(uint8)", ["b", 33, 47, 3]),
        "weights": ("tensor(float)", [6]),
        "style": ("tensor(int32)", ["b"]),
    }
    (picture,) = session.get_outputs()
    assert (picture.name, picture.shape) == ("picture", ["b", 33, 47, 3])


def test_an_operation_that_onnx_lacks_is_named(model):
    pytest.importorskip("onnx", reason=f"no onnx: {onnx_file.INSTALL}")

    class Summing(Sampler):
        def __call__(self, *arrays):
            return super().__call__(*arrays).cumsum(0)

    sampler = Summing(model, make_sampler(model).inputs)
    with pytest.raises(InputError, match=r"found the operation 'cumsum' .* a \.stablehlo file"):
        onnx_file.to_onnx(sampler, {"h": 32, "w": 40})


def test_without_the_package_the_command_that_installs_it_is_named(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"found no package onnx; expected pip install .*\[onnx\]"):
        onnx_file.to_onnx(make_sampler(model), {"h": 32, "w": 40})
