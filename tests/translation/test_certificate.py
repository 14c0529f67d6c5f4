import dataclasses
import json
import re

import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.metrics.feature_statistics import fingerprint
from sflow_jax.translation import certificate
from sflow_jax.translation.certificate import Line


def line(frame="train/a/0"):
    return Line(frame, 0, {}, {"x.png": "ab"}, 0.5, {"road": 0.25}, None, {}, "w", "c", "r")


def to_json(**changes):
    return json.dumps(dataclasses.asdict(line()) | changes).encode()


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (100_000 * b"[", "line 1: found brackets within brackets, too deep to be read"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff"),
        (b"[]", "line 1: "),
        (to_json(variant="0"), "line 1: variant is '0'"),
        (to_json(outputs={"a.png": 3}), "line 1: outputs is {'a.png': 3}"),
        (to_json(inputs={"cg": {"path": "a"}}), "line 1: inputs has {'path': 'a'}"),
        (to_json(outputs={"../victim": "a"}), "line 1: found the path '../victim' outside"),
        (to_json(outputs={"/victim": "a"}), "line 1: found the path '/victim' outside"),
        (to_json(outputs={"a\0": "a"}), "line 1: found the path 'a\\x00' outside"),
        (to_json(agreement=float("nan")), "line 1: agreement is nan"),
    ],
)
def test_a_certificate_that_is_none(tmp_path, content, message):
    path = tmp_path / "certificate.jsonl"
    path.write_bytes(content + b"\n")
    expected = f"{re.escape(f'{path}: {message}')}.*; expected what translate wrote"
    with pytest.raises(InputError, match=expected):
        certificate.read_lines(tmp_path)


def test_lines_are_not_appended_through_a_link(tmp_path):
    (tmp_path / "victim").write_text("mine", encoding="utf-8")
    (tmp_path / "certificate.jsonl").symlink_to("victim")
    with pytest.raises(OSError, match="symbolic links"):
        certificate.append_lines(tmp_path, [line()])
    assert (tmp_path / "victim").read_text(encoding="utf-8") == "mine"


def test_the_hash_of_networks_sees_every_bit_and_name(tmp_path):
    params = {"a": np.zeros(3, np.float32), "b": np.ones(2, np.float32)}
    other = {"a": np.array([0, 0, -0.0], np.float32), "b": params["b"]}
    renamed = {"a": params["a"], "c": params["b"]}
    digests = {fingerprint(tree) for tree in (params, other, renamed)}
    assert len(digests) == 3
    assert fingerprint(dict(reversed(params.items()))) in digests
