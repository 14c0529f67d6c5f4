import hashlib
import io
import json
import re
import struct
import sys
import types

import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.pretrained import conversion, semseg, vgg19, weights


@pytest.fixture
def checkpoint_tensors():
    """A checkpoint with torchvision's keys, small numbers in the right shapes."""
    rules = vgg19.conversion()
    rng = np.random.RandomState(0)
    tensors = {}
    for path, key in rules.keys.items():
        shape = rules.shapes[path]
        if len(shape) == 4:
            shape = (shape[3], shape[2], *shape[:2])
        tensors[key] = rng.standard_normal(shape).astype(np.float32)
    for layer in (30, 32, 34):
        tensors[f"features.{layer}.weight"] = np.zeros((512, 512, 3, 3), np.float32)
        tensors[f"features.{layer}.bias"] = np.zeros(512, np.float32)
    for layer in (0, 3, 6):
        tensors[f"classifier.{layer}.weight"] = np.zeros((2, 2), np.float32)
        tensors[f"classifier.{layer}.bias"] = np.zeros(2, np.float32)
    return tensors


@pytest.fixture
def numpy_as_torch(monkeypatch):
    """Checkpoints are .npz files in the tests that are not about PyTorch."""
    monkeypatch.setattr(conversion, "import_torch", lambda: None)
    monkeypatch.setattr(
        conversion, "read_torch", lambda path: dict(np.load(io.BytesIO(path.read_bytes())))
    )


def as_bytes(tensors):
    buffer = io.BytesIO()
    np.savez(buffer, **tensors)
    return buffer.getvalue()


def publish(monkeypatch, server, content):
    server.content = content
    known = weights.KnownWeights(
        server.url, hashlib.sha256(content).hexdigest(), "sflow_jax.pretrained.vgg19"
    )
    monkeypatch.setitem(weights.REGISTRY, "vgg19", known)


@pytest.mark.parametrize(
    ("option", "variable", "expected"),
    [
        ("given", "from_env", "given"),
        (None, "from_env", "from_env"),
        (None, "", "home/.cache/sflow_jax"),
    ],
)
def test_cache_directory(monkeypatch, option, variable, expected):
    monkeypatch.setenv("HOME", "home")
    monkeypatch.setenv("SFLOW_CACHE", variable)
    assert str(weights.cache_directory(option)) == expected


def test_registry_states_whole_hashes_which_the_published_names_begin():
    for known in weights.REGISTRY.values():
        assert known.url.startswith("https://")
        if not known.sha256:
            continue
        assert re.fullmatch("[0-9a-f]{64}", known.sha256)
        # A name with no digits of it needs an address whose content cannot change.
        is_fixed = re.search("/raw/[0-9a-f]{40}/", known.url) or known.package
        assert is_fixed or known.sha256[:8] in known.file_name


def test_absent_weights_name_the_command_that_gets_them(tmp_path):
    command = f"python -m sflow_jax.pretrained.weights get vgg19 --cache_dir {tmp_path}"
    with pytest.raises(InputError, match=f"get them with: {command}"):
        vgg19.load(tmp_path)


def test_weights_without_a_published_hash_are_not_downloaded(tmp_path, capsys):
    name = "pspnet50_cityscapes"
    with pytest.raises(SystemExit) as exit_info:
        weights.main(["get", name, "--cache_dir", str(tmp_path)])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {name}: download them by hand from https://drive.google.com/")
    command = f"python -m sflow_jax.pretrained.weights convert {name} --from FILE"
    assert error.endswith(f"{command} --cache_dir {tmp_path}\n")
    assert error.count("\n") == 1
    with pytest.raises(InputError, match=f"are not there; download .* {command} --cache_dir"):
        semseg.load(50, tmp_path)


def test_get_converts_every_value_and_deletes_the_checkpoint(
    tmp_path, monkeypatch, file_server, checkpoint_tensors, numpy_as_torch, capsys
):
    publish(monkeypatch, file_server, as_bytes(checkpoint_tensors))
    monkeypatch.setenv("SFLOW_CACHE", str(tmp_path))
    weights.main(["get", "vgg19"])
    assert capsys.readouterr().out == f"{tmp_path}/vgg19.safetensors\n"
    assert [path.name for path in tmp_path.iterdir()] == ["vgg19.safetensors"]
    params = vgg19.load()["params"]
    assert len(params) == 13
    np.testing.assert_array_equal(
        params["conv3_4"]["kernel"][2, 0, 5, 7],
        checkpoint_tensors["features.16.weight"][7, 5, 2, 0],
    )
    np.testing.assert_array_equal(params["conv5_1"]["bias"], checkpoint_tensors["features.28.bias"])
    weights.main(["get", "vgg19"])
    assert len(file_server.requested_ranges) == 1  # the second call finds it in the cache


def test_file_with_another_hash_is_never_read(
    tmp_path, monkeypatch, file_server, checkpoint_tensors, capsys
):
    publish(monkeypatch, file_server, as_bytes(checkpoint_tensors))
    file_server.content = b"malicious"
    monkeypatch.setattr(conversion, "import_torch", lambda: None)
    monkeypatch.setattr(conversion, "read_torch", lambda _: pytest.fail("it was read"))
    with pytest.raises(SystemExit) as exit_info:
        weights.main(["get", "vgg19", "--cache_dir", str(tmp_path)])
    assert exit_info.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: http://127.0.0.1")
    assert "SHA-256" in error
    assert list(tmp_path.iterdir()) == []


def test_a_copy_in_the_cache_is_checked_and_left_where_it_is(
    tmp_path, monkeypatch, file_server, checkpoint_tensors, numpy_as_torch
):
    publish(monkeypatch, file_server, as_bytes(checkpoint_tensors))
    copy = tmp_path / weights.REGISTRY["vgg19"].file_name
    copy.write_bytes(b"something else")
    with pytest.raises(InputError, match="SHA-256"):
        weights.get("vgg19", tmp_path)
    assert copy.read_bytes() == b"something else"
    copy.write_bytes(file_server.content)
    assert weights.get("vgg19", tmp_path).is_file()
    assert copy.is_file()
    assert not file_server.requested_ranges


def test_failed_conversion_keeps_the_download(
    tmp_path, monkeypatch, file_server, checkpoint_tensors, numpy_as_torch
):
    del checkpoint_tensors["features.5.bias"]
    publish(monkeypatch, file_server, as_bytes(checkpoint_tensors))
    with pytest.raises(InputError, match=r"1 missing: features\.5\.bias"):
        weights.get("vgg19", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["network-00000000.pth"]


class Tensor:
    """As much of PyTorch's tensor as a conversion asks for."""

    def __init__(self, values):
        self._values = values

    def numel(self):
        return self._values.size

    def element_size(self):
        return self._values.itemsize

    def float(self):
        return self

    def numpy(self):
        return self._values


@pytest.mark.parametrize("is_whole_run", [True, False])
@pytest.mark.parametrize("prefix", ["module.", ""])
def test_tensors_are_found_in_checkpoints_of_runs(monkeypatch, tmp_path, is_whole_run, prefix):
    """semseg's files also hold the optimizer, and their keys the prefix of `DataParallel`."""
    values = np.arange(3.0)
    saved = {f"{prefix}layer0.1.module.bias": Tensor(values)}
    if is_whole_run:
        saved = {"epoch": 200, "state_dict": saved, "optimizer": {"param_groups": []}}

    def load(path, map_location, weights_only):
        assert (path, map_location, weights_only) == (tmp_path / "x.pth", "cpu", True)
        return saved

    torch = types.SimpleNamespace(load=load, is_tensor=lambda x: isinstance(x, Tensor))
    monkeypatch.setitem(sys.modules, "torch", torch)
    (tmp_path / "x.pth").write_bytes(bytes(100))
    ((key, found),) = conversion.read_torch(tmp_path / "x.pth").items()
    assert key == "layer0.1.module.bias"
    np.testing.assert_array_equal(found, values)


def test_missing_torch_is_one_line_with_the_pip_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    arguments = ["convert", "vgg19", "--cache_dir", str(tmp_path), "--from", "some.pth"]
    with pytest.raises(SystemExit) as exit_info:
        weights.main(arguments)
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == (
        "error: PyTorch is needed to read its checkpoint: pip install torch\n"
    )


@pytest.mark.parametrize("option", ["--from", "--cache_dir"])
def test_an_empty_path_is_refused(option, tmp_path, capsys):
    paths = {"--from": "some.pth", "--cache_dir": str(tmp_path)} | {option: ""}
    with pytest.raises(SystemExit) as exit_info:
        weights.main(["convert", "vgg19", *(f"{name}={path}" for name, path in paths.items())])
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == (
        f"error: {option}: found nothing, expected the path of a file or folder\n"
    )


def test_weights_are_downloaded_and_checked_before_torch_is_asked_for(
    tmp_path, monkeypatch, file_server
):
    content = b"the published checkpoint"
    publish(monkeypatch, file_server, content)
    file_server.content = b"another file"
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="the download was deleted, its SHA-256 is"):
        weights.get("vgg19", tmp_path)
    file_server.content = content
    message = (
        r"network-0+\.pth: downloaded and checked; PyTorch is needed .* pip install torch, then run"
    )
    with pytest.raises(InputError, match=message):
        weights.get("vgg19", tmp_path)
    requests = len(file_server.requested_ranges)
    with pytest.raises(InputError, match=r"^PyTorch is needed"):
        weights.get("vgg19", tmp_path)
    assert len(file_server.requested_ranges) == requests  # nothing is downloaded twice


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features.5.weight": None}, "1 missing: features.5.weight"),
        ({"features.1.weight": np.zeros(3)}, "1 left over: features.1.weight"),
        ({"module.x": np.zeros(3), "a": np.zeros(1)}, "2 left over: a, module.x"),
        (
            {"features.0.weight": np.zeros((64, 3, 5, 5))},
            r"1 of another shape: features.0.weight is \[64, 3, 5, 5\], expected \[64, 3, 3, 3\]",
        ),
    ],
)
def test_checkpoint_that_does_not_fit_is_listed(checkpoint_tensors, change, message):
    tensors = {k: v for k, v in {**checkpoint_tensors, **change}.items() if v is not None}
    with pytest.raises(InputError, match=f"x.pth: not the expected weights; {message}$"):
        conversion.convert_tensors(tensors, vgg19.conversion(), "x.pth")


def test_kernels_of_transposed_convolutions_have_their_channels_the_other_way_round():
    """PyTorch stores them [in, out, *spatial]."""
    rules = conversion.Conversion(
        shapes={"params/a/kernel": (3, 5, 2, 4), "params/b/kernel": (3, 5, 2, 4)},
        keys={"params/a/kernel": "a", "params/b/kernel": "b"},
        transposed=["params/b/kernel"],
    )
    a = np.arange(120.0, dtype=np.float32).reshape(4, 2, 3, 5)
    b = a.reshape(2, 4, 3, 5)
    found = conversion.convert_tensors({"a": a, "b": b}, rules, "x.pth")["params"]
    np.testing.assert_array_equal(found["a"]["kernel"], np.transpose(a, (2, 3, 1, 0)))
    np.testing.assert_array_equal(found["b"]["kernel"], np.transpose(b, (2, 3, 0, 1)))
    with pytest.raises(InputError, match=r"b is \[4, 2, 3, 5\], expected \[2, 4, 3, 5\]"):
        conversion.convert_tensors({"a": a, "b": a}, rules, "x.pth")


def test_long_lists_are_cut():
    with pytest.raises(InputError, match=r"26 missing: (\S+, ){9}\S+ and 16 more"):
        conversion.convert_tensors({}, vgg19.conversion(), "x.pth")


def write_safetensors(path, header, data=b""):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_damaged_cache_names_the_file(tmp_path):
    path = tmp_path / "vgg19.safetensors"
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"vgg19\.safetensors: .*expected a safetensors file"):
        vgg19.load(tmp_path)
    write_safetensors(path, {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"1234")
    with pytest.raises(InputError, match=r"vgg19\.safetensors: .*expected a safetensors file"):
        vgg19.load(tmp_path)
    write_safetensors(path, {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"1234")
    with pytest.raises(InputError, match=r"26 missing: .* 1 left over: a"):
        vgg19.load(tmp_path)
