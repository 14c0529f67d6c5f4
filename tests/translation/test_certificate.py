import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.translation import certificate
from sflow_jax.translation.certificate import Line


def line(frame="train/a/0"):
    return Line(frame, 0, {}, {"x.png": "ab"}, 0.5, {"road": 0.25}, None, {}, "w", "c", "r")


def test_lines_are_read_back_and_half_a_line_is_dropped(tmp_path):
    certificate.write_lines(tmp_path, [line()])
    certificate.append_lines(tmp_path, [line("train/a/1")])
    assert certificate.read_lines(tmp_path) == [line(), line("train/a/1")]
    path = tmp_path / "certificate.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-5], encoding="utf-8")
    assert certificate.read_lines(tmp_path) == [line()]
    assert certificate.read_lines(tmp_path / "nowhere") == []


def test_a_damaged_line_is_named(tmp_path):
    certificate.write_lines(tmp_path, [line(), line("train/a/1")])
    path = tmp_path / "certificate.jsonl"
    path.write_text("{}\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"certificate\.jsonl: line 1: .*; expected what translate"
    ):
        certificate.read_lines(tmp_path)


def test_the_hash_of_networks_sees_every_bit_and_name(tmp_path):
    params = {"a": np.zeros(3, np.float32), "b": np.ones(2, np.float32)}
    other = {"a": np.array([0, 0, -0.0], np.float32), "b": params["b"]}
    renamed = {"a": params["a"], "c": params["b"]}
    digests = {certificate.hash_params(tree) for tree in (params, other, renamed)}
    assert len(digests) == 3
    assert certificate.hash_params(dict(reversed(params.items()))) in digests
