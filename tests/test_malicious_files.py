"""Files that were made to do harm: none runs, fills memory or is written through."""

import io
import json
import pickle
import struct
import sys
import types
import zipfile

import h5py
import numpy as np
import pytest

from sflow_jax.data import example, labels, prepared
from sflow_jax.errors import InputError
from sflow_jax.files import require_stored_archive, write_whole
from sflow_jax.manifest import write_manifest
from sflow_jax.pretrained import conversion
from sflow_jax.runs.palettes import load_palettes
from sflow_jax.training.metric_log import MetricLog
from sflow_jax.variables import read_variables
from tests.data.test_builder import Counting

BOMB = 2**42  # bytes; no machine has them


class Harm:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark):
        self._mark = mark

    def __reduce__(self):
        return open, (str(self._mark), "w")


def test_pickled_palettes_are_not_loaded(tmp_path):
    mark = tmp_path / "mark"
    np.save(tmp_path / "palettes.npy", np.array([Harm(mark)], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"palettes\.npy: found Object arrays cannot be loaded"):
        load_palettes(tmp_path, 3)
    (tmp_path / "palettes.npy").write_bytes(pickle.dumps(Harm(mark)))
    with pytest.raises(InputError, match=r"palettes\.npy: "):
        load_palettes(tmp_path, 3)
    assert not mark.exists()


def test_palettes_of_an_absurd_size_are_refused(tmp_path):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({BOMB // 12}, 1, 3), }}"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n"
    (tmp_path / "palettes.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"palettes\.npy: "):
        load_palettes(tmp_path, 1)


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", BOMB) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        *(
            struct.pack("<Q", len(header)) + header
            for header in (
                b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}',
                b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}',
                b'{"a":' * 10_000,
            )
        ),
    ],
)
def test_safetensors_that_declare_what_they_do_not_hold_are_refused(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.safetensors: .*; expected a safetensors file"):
        read_variables(path, {"a": (1,)})


def zip_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(10**7))


def with_torch(monkeypatch, load):
    torch = types.SimpleNamespace(load=load, is_tensor=lambda value: hasattr(value, "numel"))
    monkeypatch.setitem(sys.modules, "torch", torch)


def test_an_archive_that_would_fill_memory_is_refused_by_its_headers(tmp_path, monkeypatch):
    path = tmp_path / "network.pth"
    zip_bomb(path)
    with_torch(monkeypatch, lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(InputError, match=r"archive/data/0 of 10000000 bytes in a file of \d+; exp"):
        conversion.read_torch(path)
    buffer = io.BytesIO()
    np.savez(buffer, np.zeros(1000), np.ones(3))
    path.write_bytes(buffer.getvalue())
    require_stored_archive(path)


def test_a_tensor_that_shows_more_than_its_file_holds_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "network.pth"
    path.write_bytes(bytes(100))
    view = types.SimpleNamespace(numel=lambda: BOMB, element_size=lambda: 2)
    with_torch(monkeypatch, lambda *_, **__: {"weight": view})
    with pytest.raises(InputError, match=rf"found weight of {2 * BOMB} bytes in a file of 100"):
        conversion.read_torch(path)
    with_torch(monkeypatch, lambda *_, **__: {3: view})
    with pytest.raises(InputError, match="found dict, expected a dict of tensors"):
        conversion.read_torch(path)


def test_hdf5_that_is_larger_than_its_file_or_lies_elsewhere_is_refused(tmp_path):
    path, secret = tmp_path / "a.weights.h5", tmp_path / "secret"
    secret.write_bytes(bytes(40))
    with h5py.File(path, "w") as file:
        file.create_dataset("big", (BOMB,), "u1", chunks=(1024,))
    with pytest.raises(InputError, match=rf"a\.weights\.h5: found big of {BOMB} bytes in a file"):
        conversion.read_keras(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("stolen", (10,), "f4", external=[(str(secret), 0, 40)])
    with pytest.raises(InputError, match="found stolen in other files"):
        conversion.read_keras(path)
    with h5py.File(path, "w") as file:
        file["linked"] = h5py.ExternalLink(str(secret), "/")
    assert conversion.read_keras(path) == {}


def test_nothing_is_written_through_a_link(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("config.json.part", "config.json"):
        (folder / name).symlink_to(outside)
    write_whole(folder / "config.json", "{}")
    assert outside.read_text() == "mine"
    assert (folder / "config.json").read_text() == "{}"
    (folder / "metrics.jsonl").symlink_to(tmp_path / "new")
    with MetricLog(folder, 0):
        pass
    assert not (tmp_path / "new").exists()


class Named(Counting, skip_registration=True):
    """One example of a name that a test chooses."""

    split_sizes = {"train": 1}  # noqa: RUF012
    example_name = ""

    def recipe(self, split):
        name = self.example_name

        def make_example(_):
            image = np.zeros((1, 2, 3, 3), np.uint8)
            return {"image": image, "label": image[..., :1], "name": name}

        return make_example, range(1)


@pytest.mark.parametrize("name", ["../x", "../../x", "/x", "a/../../x"])
def test_an_export_stays_in_its_folder(tmp_path, monkeypatch, name):
    monkeypatch.setattr(Named, "example_name", name)
    schema = example.Schema(2, 3)
    made = Named(
        schema=schema, class_table=labels.STREETS, contents="abc", data_dir=tmp_path / "data"
    )
    made.download_and_prepare()
    dataset = prepared.open_dataset(tmp_path / "data/named/3x2-ba7816bf/1.0.0")
    out = tmp_path / "out"
    if name == "../x":
        with pytest.raises(InputError, match=r"found an example '\.\./x', expected a name inside"):
            prepared.export(dataset, out)
        assert not list(tmp_path.rglob("*.png"))
    else:
        prepared.export(dataset, out)
        pictures = list(tmp_path.rglob("*.png"))
        assert pictures
        assert all(path.resolve().is_relative_to(out / "train") for path in pictures)


def test_a_split_whose_name_leaves_the_folder_is_refused(tmp_path):
    made = Counting(
        schema=example.Schema(2, 3),
        class_table=labels.STREETS,
        contents="abc",
        data_dir=tmp_path,
    )
    made.download_and_prepare()
    directory = tmp_path / "counting/3x2-ba7816bf/1.0.0"
    info = json.loads((directory / "dataset_info.json").read_text())
    info["splits"][0]["name"] = "../../train"
    (directory / "dataset_info.json").write_text(json.dumps(info))
    write_manifest(directory)
    with pytest.raises(InputError, match=str(directory)):
        prepared.open_dataset(directory)
