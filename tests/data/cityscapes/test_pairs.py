import itertools
import pathlib
import types

import cv2
import numpy as np
import pytest

from sflow_jax.data import cityscapes, folder, images, prepared
from sflow_jax.errors import InputError

SIZE = (40, 80)


@pytest.fixture
def snippets(tmp_path):
    """Frames in the layout of the video snippets: numbers of each sequence by 'SPLIT/CITY_SEQ'."""
    numbers = {
        "train/aachen_000000": [9, 10, 11],
        "train/aachen_000001": [12, 13],
        "train/hamburg_000000": [28, 29, 60, 61],  # two snippets, numbered through
        "val/munster_000004": [0, 1],
    }
    source, random = tmp_path / "source", np.random.RandomState(0)
    for place, sequence in numbers.items():
        texture = cv2.GaussianBlur(random.randint(0, 256, (60, 120, 3)).astype(np.uint8), (0, 0), 2)
        for step, number in enumerate(sequence):
            stem = pathlib.Path(place).name + f"_{number:06d}"
            folder = pathlib.Path(place).parent / stem.partition("_")[0]
            image = np.ascontiguousarray(texture[:40, 2 * step : 80 + 2 * step])
            label = random.choice(35, (*SIZE, 1)).astype(np.uint8)
            for root, ending, array in (
                ("leftImg8bit_sequence", "leftImg8bit", image),
                ("label_sequence", "labelIds", label),
            ):
                path = source / root / folder / f"{stem}_{ending}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(images.encode_png(array))
    return types.SimpleNamespace(source=source, data_dir=tmp_path / "data")


def _prepare(snippets, height=SIZE[0], width=SIZE[1]) -> prepared.PreparedDataset:
    builder = cityscapes.Cityscapes(
        source=snippets.source, height=height, width=width, frames=2, data_dir=snippets.data_dir
    )
    builder.check()
    builder.download_and_prepare()
    return prepared.open_dataset(builder.data_path)


def _read(snippets, name: str, split="train") -> tuple[np.ndarray, np.ndarray]:
    city = name.partition("_")[0]
    image = snippets.source / "leftImg8bit_sequence" / split / city / f"{name}_leftImg8bit.png"
    label = snippets.source / "label_sequence" / split / city / f"{name}_labelIds.png"
    return cv2.imread(str(image))[..., ::-1], cv2.imread(str(label), 0)[..., None]


def test_pairs_are_consecutive_frames_of_one_snippet(snippets):
    dataset = _prepare(snippets)
    names = [example["name"] for example in dataset.source("train")]
    assert names == [
        "aachen_000000_000009/aachen_000000_000009",
        "aachen_000000_000009/aachen_000000_000010",
        "aachen_000001_000012/aachen_000001_000012",
        "hamburg_000000_000028/hamburg_000000_000028",
        "hamburg_000000_000060/hamburg_000000_000060",
    ]
    assert dataset.num_examples == {"train": 5, "validation": 1}
    assert dataset.schema.keys == ("image", "label", "flow")
    example = dataset.source("train")[1]
    for t, name in enumerate(("aachen_000000_000010", "aachen_000000_000011")):
        image, label = _read(snippets, name)
        np.testing.assert_array_equal(example["image"][t], image)
        np.testing.assert_array_equal(example["label"][t], label)


def test_exported_snippets_can_be_prepared_as_pairs_again(snippets, tmp_path):
    dataset = _prepare(snippets)
    prepared.export(dataset, tmp_path / "exported")
    again = folder.Folder(
        source=tmp_path / "exported", height=0, width=0, frames=2, data_dir=tmp_path / "again"
    )
    for split in dataset.num_examples:
        for exported, original in zip(again.examples(split), dataset.source(split), strict=True):
            assert exported["name"] == original["name"]
            for key in ("image", "label"):
                np.testing.assert_array_equal(exported[key], original[key])


def test_pairs_have_the_flow_of_opencv_at_training_resolution(snippets):
    example = _prepare(snippets, 20, 40).source("train")[0]
    grays = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in example["image"]]
    flow = cv2.calcOpticalFlowFarneback(*grays, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    np.testing.assert_allclose(example["flow"], flow, atol=1e-2)
    # The picture moves two of its 80 columns to the left, one column of the resized ones.
    np.testing.assert_allclose(np.median(example["flow"], (0, 1)), [-1, 0], atol=0.1)


def test_a_lone_frame_is_named(snippets):
    folder = snippets.source / "leftImg8bit_sequence/train/aachen"
    for kind in ("leftImg8bit_sequence", "label_sequence"):
        next((snippets.source / kind).glob("train/aachen/aachen_000001_000013*")).unlink()
    with pytest.raises(InputError) as error:
        _prepare(snippets)
    assert str(error.value) == (
        f"{folder}/aachen_000001_000012_leftImg8bit.png: found 1 consecutive frames from "
        "here on, expected at least 2, as config.data.frames says"
    )


@pytest.mark.parametrize(
    ("missing", "partner"),
    [
        (
            "label_sequence/train/aachen/aachen_000000_000010_labelIds.png",
            "leftImg8bit_sequence/train/aachen/aachen_000000_000010_leftImg8bit.png",
        ),
        (
            "leftImg8bit_sequence/val/munster/munster_000004_000001_leftImg8bit.png",
            "label_sequence/val/munster/munster_000004_000001_labelIds.png",
        ),
    ],
)
def test_a_missing_partner_is_named(missing, partner, snippets):
    (snippets.source / missing).unlink()
    with pytest.raises(InputError) as error:
        _prepare(snippets)
    key = "image" if "leftImg8bit" in missing else "label"
    assert str(error.value) == (
        f"{snippets.source / missing}: not found, expected it as the {key} of "
        f"{snippets.source / partner}"
    )


def test_a_name_without_a_number_is_named(snippets):
    for path in snippets.source.glob("*/val/munster/munster_000004_000001*"):
        path.rename(path.with_name(path.name.replace("000001", "last")))
    with pytest.raises(InputError, match=r"munster_000004_last_left.*: found no frame number"):
        _prepare(snippets)


def test_annotated_frames_alone_are_no_snippets(tmp_path):
    for kind in ("leftImg8bit", "gtFine"):
        (tmp_path / kind / "train").mkdir(parents=True)
    with pytest.raises(InputError, match=r"expected leftImg8bit_sequence/train/CITY/\*_left"):
        cityscapes.Cityscapes(source=tmp_path, height=8, width=8, frames=2, data_dir=tmp_path)


def test_the_real_sequence_makes_three_pairs(real_data, tmp_path):
    source = real_data / "cityscapes"
    dataset = _prepare(types.SimpleNamespace(source=source, data_dir=tmp_path), 128, 256)
    assert dataset.num_examples == {"train": 3}
    examples = list(dataset.source("train"))
    for before, after in itertools.pairwise(examples):
        np.testing.assert_array_equal(before["image"][1], after["image"][0])
        np.testing.assert_array_equal(before["label"][1], after["label"][0])
    assert 0.2 < np.abs(examples[0]["flow"].astype(float)).mean() < 20
