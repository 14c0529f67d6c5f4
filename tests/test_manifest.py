"""Damage to a folder is found; the sums are those of sha256sum."""

import json
import os

import pytest

from sflow_jax import manifest
from sflow_jax.errors import InputError

# Of `printf abc | sha256sum`.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "part").mkdir()
    (tmp_path / "part/data").write_bytes(b"abc")
    (tmp_path / "info.json").write_text("{}")
    manifest.write_manifest(tmp_path)
    return tmp_path


def test_it_lists_sizes_and_sums(folder):
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert files["part/data"] == {"bytes": 3, "sha256": ABC}
    assert files.keys() == {"part/data", "info.json"}
    manifest.check_contents(folder)
    manifest.write_manifest(folder)
    assert json.loads((folder / "manifest.json").read_text())["files"] == files


def test_every_flipped_bit_is_found(folder):
    for bit in range(24):
        content = bytearray(b"abc")
        content[bit // 8] ^= 1 << bit % 8
        (folder / "part/data").write_bytes(content)
        manifest.check_sizes(folder)
        manifest.check_contents(folder, suffix=".json")
        with pytest.raises(InputError, match=r"part/data: damaged: its SHA-256 is .*ba7816bf8f01"):
            manifest.check_contents(folder)


def test_files_that_are_cut_or_gone_are_named(folder):
    (folder / "part/data").write_bytes(b"ab")
    with pytest.raises(InputError, match=r"part/data: found 2 bytes, expected 3$"):
        manifest.check_sizes(folder)
    (folder / "part/data").unlink()
    with pytest.raises(InputError, match=r"found no part/data, expected 3 bytes of it$"):
        manifest.check_contents(folder)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"files": [1]}', '{"files": {"part/data": 3}}', '{"files": {"a": {}}}']
)
def test_a_damaged_list_is_named(folder, content):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json: "):
        manifest.check_contents(folder)


def test_names_that_lead_elsewhere_are_not_read(folder):
    outside = folder.with_name("outside")
    os.mkfifo(outside)  # reading it would never end
    entry = {"bytes": 0, "sha256": ABC}
    for name in (f"../{outside.name}", str(outside)):
        (folder / "manifest.json").write_text(json.dumps({"files": {name: entry}}))
        with pytest.raises(InputError, match="found no "):
            manifest.check_contents(folder)


def test_a_folder_without_a_list_passes(tmp_path):
    (tmp_path / "data").write_bytes(b"abc")
    manifest.check_contents(tmp_path)
    assert not manifest.has_manifest(tmp_path)
    assert manifest.fingerprint(tmp_path, "") == ""


def test_the_fingerprint_is_that_of_the_content_of_a_part(folder):
    before = manifest.fingerprint(folder, "part/")
    assert len(before) == 16
    (folder / "info.json").write_text("{ }")
    manifest.write_manifest(folder)
    assert manifest.fingerprint(folder, "part/") == before
    (folder / "part/data").write_bytes(b"abd")
    manifest.write_manifest(folder)
    assert manifest.fingerprint(folder, "part/") != before
