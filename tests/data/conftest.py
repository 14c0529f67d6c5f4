"""Small datasets of PNG files, to be damaged by tests."""

import pathlib
import types

import cv2
import numpy as np
import pytest

from sflow_jax.data import images, labels

SIZE = (6, 8)


def _table() -> labels.ClassTable:
    classes = [
        labels.LabelClass(0, "void", (0, 0, 0), None),
        labels.LabelClass(3, "road", (128, 64, 128), 0),
        labels.LabelClass(7, "car", (0, 0, 142), 1),
    ]
    return labels.ClassTable("toy", tuple(classes))


def _arrays(rng: np.random.Generator, ids: list[int]) -> dict[str, np.ndarray]:
    return {
        "image": rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8),
        "label": rng.choice(np.array(ids, np.uint8), (*SIZE, 1)),
        "cg": rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8),
        "instance": rng.integers(0, 26005, (*SIZE, 1)).astype(np.uint16),
    }


def _write(path: pathlib.Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(images.encode_png(array))


@pytest.fixture
def folder_dataset(tmp_path):
    """A `folder` dataset of 2 + 1 sequences of 3 frames with all kinds of images.

    Attributes: source, arrays by (split, 'sequence/name'), write(path, array).
    """
    source, rng, arrays = tmp_path / "source", np.random.default_rng(0), {}
    for split, sequence in (("train", "seq_a"), ("train", "seq_b"), ("validation", "seq_a")):
        for number in range(1, 4):
            frame = _arrays(rng, [0, 3, 7])
            arrays[split, f"{sequence}/f{number:03d}"] = frame
            for key, array in frame.items():
                _write(source / split / sequence / key / f"f{number:03d}.png", array)
    (source / "classes.json").write_text(_table().to_json())
    return types.SimpleNamespace(
        source=source, arrays=arrays, table=_table(), write=_write, data_dir=tmp_path / "data"
    )


@pytest.fixture
def cityscapes_dataset(tmp_path):
    """A dataset in the layout of Cityscapes: 2 cities for training, 1 for validation."""
    source, rng, arrays = tmp_path / "source", np.random.default_rng(0), {}
    for split, city in (("train", "aachen"), ("train", "bochum"), ("val", "frankfurt")):
        for number in range(2):
            stem, frame = f"{city}_{number:06d}_000019", _arrays(rng, list(range(35)))
            arrays[split, f"{city}/{stem}"] = frame
            gtfine = source / "gtFine" / split / city / f"{stem}_gtFine"
            _write(
                source / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", frame["image"]
            )
            _write(gtfine.with_name(f"{gtfine.name}_labelIds.png"), frame["label"])
            _write(gtfine.with_name(f"{gtfine.name}_instanceIds.png"), frame["instance"])
            # What the official folder also holds must not disturb.
            _write(gtfine.with_name(f"{gtfine.name}_color.png"), frame["cg"])
    return types.SimpleNamespace(
        source=source, arrays=arrays, write=_write, data_dir=tmp_path / "data"
    )


@pytest.fixture
def synthia_dataset(tmp_path):
    """A dataset in the layout of SYNTHIA-SEQS: sequences of 20, 10 and 3 frames in two drives.

    Attributes: source, arrays by name, path(key, name) of files, write(path, array).
    """
    source, rng, arrays = tmp_path / "source", np.random.default_rng(0), {}

    def path(key: str, name: str) -> pathlib.Path:
        drive, _, rest = name.partition("/")
        folder = {"image": "RGB", "annotation": "GT/LABELS"}.get(key, key)
        return source / drive / folder / f"{rest}.png"

    sequences = {
        "SYNTHIA-SEQS-04-DAWN/Stereo_Left/Omni_F": 20,
        "SYNTHIA-SEQS-04-DAWN/Stereo_Right/Omni_B": 10,
        "SYNTHIA-SEQS-05-FALL/Stereo_Left/Omni_L": 3,
    }
    for sequence, num_frames in sequences.items():
        for number in range(num_frames):
            name = f"{sequence}/{number:06d}"
            frame = _arrays(rng, list(range(16)))
            # Only cars and people are counted. The third channel has no meaning.
            instances = rng.integers(1, 1000, (*SIZE, 1)) * np.isin(frame["label"], (8, 10))
            annotation = np.concatenate([frame["label"], instances, 0 * instances], axis=-1)
            counted = frame["label"].astype(np.uint16) * 1000 + instances
            frame["instance"] = np.where(instances, counted, frame["label"])
            arrays[name] = frame
            _write(path("image", name), frame["image"])
            _write(path("annotation", name), annotation.astype(np.uint16))
            # What the official folder also holds must not disturb.
            _write(path("GT/COLOR", name), labels.SYNTHIA.colorize(frame["label"][..., 0]))
            _write(path("Depth", name), annotation.astype(np.uint16))
    (source / "SYNTHIA-SEQS-05-FALL.rar").touch()
    return types.SimpleNamespace(
        source=source, arrays=arrays, path=path, write=_write, data_dir=tmp_path / "data"
    )


@pytest.fixture
def write_with_opencv():
    """Writes an array as OpenCV does: [H, W] gray, [H, W, 3] BGR or [H, W, 4] BGRA."""

    def write(path: pathlib.Path, array: np.ndarray) -> pathlib.Path:
        path.write_bytes(cv2.imencode(".png", array)[1].tobytes())
        return path

    return write
