import subprocess
import sys

import numpy as np
import pytest

from sflow_jax.data import example


def _random_example(schema: example.Schema) -> dict:
    rng = np.random.default_rng(0)
    arrays = {}
    for key in schema.keys:
        if key == "instance":
            arrays[key] = rng.integers(0, 33999, schema.shape(key)).astype(np.uint16)
        elif key in example.PNG_KEYS:
            arrays[key] = rng.integers(0, 256, schema.shape(key)).astype(np.uint8)
        else:
            arrays[key] = rng.normal(size=schema.shape(key)).astype(np.float32)
    return arrays | {"name": "aachen/Übung_000001"}


@pytest.mark.parametrize(
    "schema",
    [
        example.Schema(5, 8),
        example.Schema(6, 4, instance=True, cg=True, depth=True),
        example.Schema(
            5, 7, frames=2, instance=True, cg=True, depth=True, flow=True, exact_flow=True
        ),
    ],
)
def test_examples_survive_storage(schema):
    original = _random_example(schema)
    features = schema.features()
    serialized = features.serialize_example(example.encode_arrays(original, schema))
    decoded = example.decode_arrays(features.deserialize_example_np(serialized), schema)
    assert decoded.keys() == original.keys()
    assert decoded["name"] == original["name"]
    for key in schema.keys:
        stored = original[key] if key in example.PNG_KEYS else original[key].astype(np.float16)
        assert decoded[key].dtype == stored.dtype
        np.testing.assert_array_equal(decoded[key], stored)


def test_a_schema_stores_only_its_keys():
    original = _random_example(example.Schema(4, 4, cg=True))
    assert set(example.encode_arrays(original, example.Schema(4, 4))) == {"image", "label", "name"}


def test_wrong_arrays_are_refused():
    schema = example.Schema(4, 4)
    original = _random_example(schema)
    with pytest.raises(ValueError, match=r"label: found shape \(4, 4, 1\)"):
        example.encode_arrays(original | {"label": original["label"][0]}, schema)
    with pytest.raises(ValueError, match="uint16, expected uint8"):
        example.encode_arrays(original | {"label": original["label"].astype(np.uint16)}, schema)


def test_neither_storing_nor_reading_loads_tensorflow():
    program = """
import sys
import numpy as np
from sflow_jax.data import example
schema = example.Schema(4, 4, flow=True)
arrays = {"image": np.zeros((1, 4, 4, 3), np.uint8), "label": np.zeros((1, 4, 4, 1), np.uint8)}
arrays |= {"flow": np.zeros((4, 4, 2)), "name": "a"}
features = schema.features()
serialized = features.serialize_example(example.encode_arrays(arrays, schema))
example.decode_arrays(features.deserialize_example_np(serialized), schema)
sys.exit("tensorflow" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
