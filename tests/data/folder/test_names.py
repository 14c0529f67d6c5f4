"""What people bring: names and formats of other systems, read as the frames that they are."""

import os
import pathlib
import subprocess
import sys
import unicodedata

import cv2
import numpy as np
import pytest

from sflow_jax.data import folder, images, prepared
from sflow_jax.errors import InputError
from tests.conftest import PROJECT_ROOT


def _prepare(dataset, **options) -> prepared.PreparedDataset:
    builder = folder.Folder(
        source=dataset.source, height=6, width=8, data_dir=dataset.data_dir, **options
    )
    builder.check()
    builder.download_and_prepare()
    return prepared.open_dataset(builder.data_path)


def _names(dataset: prepared.PreparedDataset) -> list[str]:
    source = dataset.source("train")
    return [source[index]["name"] for index in range(len(source))]


def _rename(dataset, rename, keys=folder.KEYS) -> None:
    for key in keys:
        for path in list(dataset.source.glob(f"*/*/{key}/*.png")):
            target = path.parent / rename(path.name)
            target.parent.mkdir(exist_ok=True)
            path.rename(target)


ORIGINAL = [f"seq_{sequence}/f00{number}" for sequence in "ab" for number in (1, 2, 3)]


def test_photographs_may_be_jpegs(folder_dataset):
    for path in list(folder_dataset.source.glob("*/*/image/*.png")):
        picture = cv2.imread(str(path))
        path.with_suffix(".JPG").write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
        path.unlink()
    dataset = _prepare(folder_dataset)
    assert _names(dataset) == ORIGINAL
    path = folder_dataset.source / "train/seq_a/image/f001.JPG"
    first = dataset.source("train")[0]
    np.testing.assert_array_equal(first["image"][0], images.read_color(path))
    expected = folder_dataset.arrays["train", ORIGINAL[0]]
    np.testing.assert_array_equal(first["label"][0], expected["label"])


def test_a_jpeg_of_labels_is_refused_with_the_reason(folder_dataset):
    path = folder_dataset.source / "train/seq_a/label/f001.png"
    path.rename(path.with_suffix(".jpg"))
    with pytest.raises(InputError, match=r"f001\.jpg: found a \.jpg file, .* may change ids$"):
        _prepare(folder_dataset)


def test_what_is_not_read_is_said_once(folder_dataset, capsys):
    for sequence in ("seq_a", "seq_b"):
        (folder_dataset.source / f"train/{sequence}/image/f001.heic").touch()
    assert _names(_prepare(folder_dataset)) == ORIGINAL
    notes = [line for line in capsys.readouterr().err.splitlines() if "note:" in line]
    assert len(notes) == 1
    assert f"{folder_dataset.source}: 2 files are not read (2 .heic), such as" in notes[0]


def test_published_endings_name_no_frames(folder_dataset):
    endings = {"image": "leftImg8bit", "label": "gtFine_labelIds", "instance": "gtFine_instanceIds"}
    for key, ending in endings.items():
        _rename(folder_dataset, lambda name, e=ending: name.replace(".png", f"_{e}.png"), [key])
    dataset = _prepare(folder_dataset, frames=2)
    assert _names(dataset) == [name for name in ORIGINAL if not name.endswith("3")]


def test_folders_below_are_sequences_of_their_own(folder_dataset):
    _rename(folder_dataset, lambda name: f"{'day' if name < 'f003' else 'night'}/{name}")
    assert _names(_prepare(folder_dataset)) == [
        f"seq_{s}/{sub}" for s in "ab" for sub in ("day/f001", "day/f002", "night/f003")
    ]
    for path in folder_dataset.source.glob("*/*/*/night"):
        (path / "f003.png").rename(path / "f001.png")
        (path / "f002.png").write_bytes((path / "f001.png").read_bytes())
    assert _names(_prepare(folder_dataset, frames=2)) == [
        f"seq_{s}/{sub}/f001" for s in "ab" for sub in ("day", "night")
    ]


@pytest.mark.parametrize(
    ("numbers", "step"),
    [(("0000", "0005", "0010"), 5), (("1305031102.17", "1305031102.21", "1305031103.02"), 0)],
)
def test_frames_in_steps_and_by_time_stamp_give_pairs(numbers, step, folder_dataset):
    of_name = {f"f00{index + 1}.png": f"{number}.png" for index, number in enumerate(numbers)}
    _rename(folder_dataset, of_name.get)
    with pytest.raises(InputError, match="frame_step"):
        _prepare(folder_dataset, frames=2)
    assert _names(_prepare(folder_dataset, frames=2, frame_step=step)) == [
        f"seq_{s}/{number}" for s in "ab" for number in numbers[:2]
    ]


def test_macos_and_linux_write_the_same_names_differently(folder_dataset):
    for key, form in (("image", "NFC"), ("label", "NFD"), ("cg", "NFD"), ("instance", "NFC")):
        _rename(folder_dataset, lambda name, f=form: unicodedata.normalize(f, f"Tür_{name}"), [key])
        (folder_dataset.source / f"train/seq_a/{key}/._Tür_f001.png").write_bytes(b"\0\5\26\7")
    assert _names(_prepare(folder_dataset)) == [name.replace("/f", "/Tür_f") for name in ORIGINAL]


def test_names_that_are_no_utf_8_are_read(folder_dataset):
    _rename(folder_dataset, lambda name: os.fsdecode(f"Straße_{name}".encode("latin-1")))
    sequence = os.fsencode(folder_dataset.source / "train/seq_a")
    os.rename(sequence, sequence.replace(b"seq_a", "seq_ä".encode("latin-1")))
    dataset = _prepare(folder_dataset)
    names = [name.replace("/f", "/Straße_f") for name in ORIGINAL]
    assert sorted(_names(dataset)) == sorted(name.replace("seq_a", "seq_ä") for name in names)
    prepared.export(dataset, folder_dataset.data_dir / "exported")
    assert (folder_dataset.data_dir / "exported/train/seq_ä/label/Straße_f001.png").is_file()


def test_a_locale_without_utf_8_reads_the_same_dataset(folder_dataset, tmp_path):
    _rename(folder_dataset, lambda name: f"Straße_{name}")
    here = _prepare(folder_dataset)
    folder_dataset.data_dir = tmp_path / "ascii"
    code = (
        "import sys; from sflow_jax.data.folder import Folder\n"
        "builder = Folder(source=sys.argv[1], height=6, width=8, data_dir=sys.argv[2])\n"
        "builder.check(); builder.download_and_prepare(); print(builder.data_path)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(folder_dataset.source), str(folder_dataset.data_dir)],
        env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        cwd=PROJECT_ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    there = prepared.open_dataset(pathlib.Path(result.stdout.split()[-1]))
    assert there.directory.parent.name == here.directory.parent.name  # the same fingerprint
    assert _names(there) == _names(here) == [x.replace("/f", "/Straße_f") for x in ORIGINAL]
