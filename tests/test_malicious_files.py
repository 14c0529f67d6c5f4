"""Files that were made to do harm: none runs, fills memory or is written through."""

import io
import json
import os
import pickle
import struct
import sys
import types
import zipfile
import zlib

import h5py
import numpy as np
import pytest
from PIL import ImageFile

from sflow_jax import video
from sflow_jax.data import example, images, labels, prepared
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


def png_bomb(width, height):
    """A PNG of a few bytes with a stream that is whole by all checksums."""
    content = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        content += struct.pack(">I", len(data)) + kind + data + checksum
    return content


def tiff_bomb(width, height):
    """A TIFF whose pixels would be in its last byte."""
    fields = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 1}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in fields.items())
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + entries + bytes(4)


def webp_bomb(width, height):
    """A lossless WebP: a signature byte, and 14 bits for each side."""
    bits = (width - 1) | (height - 1) << 14
    chunk = b"VP8L" + struct.pack("<IBI", 6, 0x2F, bits) + b"\0"
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.png", png_bomb(20_000, 20_000), "20000x20000 pixels"),
        ("a.png", png_bomb(16_000, 16_000), "16000x16000 pixels"),
        ("a.png", png_bomb(0, 0), "0x0 pixels"),
        ("a.png", png_bomb(2**31 - 1, 1), "2147483647x1 pixels"),
        ("a.tif", tiff_bomb(20_000, 20_000), "too many pixels"),
        ("a.tif", tiff_bomb(12_000, 12_000), "12000x12000 pixels"),
        ("a.tif", tiff_bomb(17_000, 1), "17000x1 pixels"),
        ("a.webp", webp_bomb(16_383, 16_383), "too many pixels"),
        ("a.webp", webp_bomb(12_000, 12_000), "12000x12000 pixels"),
    ],
)
def test_pictures_that_would_fill_memory_are_refused_by_their_headers(
    tmp_path, monkeypatch, name, content, found
):
    path = tmp_path / name
    path.write_bytes(content)
    assert len(content) < 200
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it was decoded"))
    monkeypatch.setattr(images.cv2, "imdecode", lambda *_: pytest.fail("it was decoded"))
    reads = [images.read_color, lambda path: images.check_header(path, "image")]
    if name == "a.png":
        reads.append(images.read_instance_map)
    for read in reads:
        with pytest.raises(InputError) as error:
            read(path)
        assert str(error.value) == (
            f"{path}: found {found}, expected sides of 1 to 16,384 and at most 134,217,728 pixels "
            "in all"
        )


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
    for name in (f"config.json.{os.getpid()}.part", "config.json"):
        (folder / name).symlink_to(outside)
    write_whole(folder / "config.json", "{}")
    assert outside.read_text() == "mine"
    assert (folder / "config.json").read_text() == "{}"
    (folder / "metrics.jsonl").symlink_to(tmp_path / "new")
    with MetricLog(folder, 0):
        pass
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {secret}\n",
    ],
)
def test_a_playlist_that_is_called_a_video_opens_no_other_file(tmp_path, playlist):
    video.encode(tmp_path / "secret.ts.mp4", [np.zeros((32, 32, 3), np.uint8)] * 3, 3, 15)
    path = tmp_path / "a.mp4"
    path.write_text(playlist.format(secret="secret.ts.mp4"))
    with pytest.raises(InputError, match=r"a\.mp4: ffmpeg ended .*; expected a whole video"):
        list(video.decode(path))


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
