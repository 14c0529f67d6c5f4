import shutil

import cv2
import numpy as np
import pytest

from sflow_jax.data import cityscapes, images, labels, prepared
from sflow_jax.errors import InputError


def _builder(source, data_dir, height=6, width=8, frames=1) -> cityscapes.Cityscapes:
    return cityscapes.Cityscapes(
        source=source, height=height, width=width, frames=frames, data_dir=data_dir
    )


def _prepare(dataset) -> prepared.PreparedDataset:
    builder = _builder(dataset.source, dataset.data_dir)
    builder.check()
    builder.download_and_prepare()
    return prepared.open_dataset(builder.data_path)


def _file(dataset, kind: str, ending: str, split="train", city="bochum", number=1):
    return dataset.source / kind / split / city / f"{city}_{number:06d}_000019{ending}"


def test_all_splits_are_prepared_with_instances(cityscapes_dataset):
    dataset = _prepare(cityscapes_dataset)
    assert dataset.num_examples == {"train": 4, "validation": 2}
    assert dataset.class_table == labels.CITYSCAPES
    for folder, split in (("train", "train"), ("val", "validation")):
        for arrays in dataset.source(split):
            original = cityscapes_dataset.arrays[folder, arrays["name"]]
            for key in ("image", "label", "instance"):
                np.testing.assert_array_equal(arrays[key][0], original[key])
    names = [arrays["name"] for arrays in dataset.source("train")]
    assert names[0] == "aachen/aachen_000000_000019"
    assert names == sorted(names)


def test_examples_are_resized(cityscapes_dataset):
    builder = _builder(cityscapes_dataset.source, cityscapes_dataset.data_dir, height=3, width=5)
    arrays = next(builder.examples("train"))
    original = cityscapes_dataset.arrays["train", arrays["name"]]
    for key, resize in (("image", images.resize_color), ("label", images.resize_map)):
        np.testing.assert_array_equal(arrays[key][0], resize(original[key], 3, 5))


def test_a_split_without_a_folder_of_images_is_left_out_with_a_note(cityscapes_dataset, capsys):
    shutil.rmtree(cityscapes_dataset.source / "leftImg8bit" / "val")
    builder = _builder(cityscapes_dataset.source, cityscapes_dataset.data_dir)
    assert builder.split_sizes == {"train": 4}
    note = capsys.readouterr().err
    assert "leaving out the split 'val': found gtFine/val but no leftImg8bit/val" in note


@pytest.mark.parametrize("id_", [1, 7])
def test_the_test_split_counts_only_where_it_has_labels(id_, cityscapes_dataset, capsys):
    for kind in ("leftImg8bit", "gtFine"):
        (cityscapes_dataset.source / kind / "val").rename(cityscapes_dataset.source / kind / "test")
    for path in cityscapes_dataset.source.glob("gtFine/test/*/*_labelIds.png"):
        cityscapes_dataset.write(path, np.full((6, 8, 1), id_, np.uint8))
    builder = _builder(cityscapes_dataset.source, cityscapes_dataset.data_dir)
    assert ("test" in builder.split_sizes) == (id_ == 7)
    assert ("label maps are empty" in capsys.readouterr().err) == (id_ == 1)


@pytest.mark.parametrize(
    ("kind", "ending", "message"),
    [
        ("leftImg8bit", "_leftImg8bit.png", "not found, expected it as the image of"),
        ("gtFine", "_gtFine_labelIds.png", "not found, expected it as the label of"),
        ("gtFine", "_gtFine_instanceIds.png", "not found, expected it as the instance of"),
    ],
)
def test_a_missing_partner_is_named(kind, ending, message, cityscapes_dataset):
    path = _file(cityscapes_dataset, kind, ending)
    path.unlink()
    with pytest.raises(InputError) as error:
        _builder(cityscapes_dataset.source, cityscapes_dataset.data_dir)
    assert str(error.value).startswith(f"{path}: {message}")


def test_an_empty_city_and_an_empty_split_are_errors(cityscapes_dataset):
    (cityscapes_dataset.source / "leftImg8bit" / "train" / "ulm").mkdir()
    with pytest.raises(InputError, match=r"train/ulm: found no images, expected files"):
        _builder(cityscapes_dataset.source, cityscapes_dataset.data_dir)
    shutil.rmtree(cityscapes_dataset.source / "leftImg8bit" / "train")
    (cityscapes_dataset.source / "leftImg8bit" / "train").mkdir()
    with pytest.raises(InputError, match=r"leftImg8bit/train: found no images"):
        _builder(cityscapes_dataset.source, cityscapes_dataset.data_dir)


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere: found nothing, expected a folder"):
        _builder(tmp_path / "nowhere", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: found a file, expected a folder"):
        _builder(tmp_path / "file", tmp_path)
    with pytest.raises(InputError, match="found no split with images and label maps, expected"):
        _builder(tmp_path, tmp_path)


def test_sizes_must_agree_within_a_frame(cityscapes_dataset):
    path = _file(cityscapes_dataset, "gtFine", "_gtFine_labelIds.png")
    cityscapes_dataset.write(path, np.zeros((3, 4, 1), np.uint8))
    image = _file(cityscapes_dataset, "leftImg8bit", "_leftImg8bit.png")
    with pytest.raises(InputError) as error:
        _builder(cityscapes_dataset.source, cityscapes_dataset.data_dir).check()
    assert str(error.value) == f"{path}: found 4x3 pixels, expected 8x6 as in {image}"


def test_the_real_sample(real_data, tmp_path, capsys):
    builder = _builder(real_data / "cityscapes", tmp_path, height=64, width=128)
    builder.check()
    builder.download_and_prepare()
    dataset = prepared.open_dataset(builder.data_path)
    assert dataset.num_examples == {"train": 8}
    assert "leaving out the split 'val'" in capsys.readouterr().err
    for arrays in dataset.source("train"):
        label, instance = arrays["label"].astype(int), arrays["instance"].astype(int)
        assert len(np.unique(label)) > 8
        # Objects carry class * 1000 + number, everything else its class.
        classes = np.where(instance >= 1000, instance // 1000, instance)
        np.testing.assert_array_equal(classes, label)
        # Sky is brighter than road in daylight: image and labels are of the same place.
        gray = arrays["image"].mean(axis=-1, keepdims=True)
        if (label == 23).any():
            assert gray[label == 23].mean() > gray[label == 7].mean()


def test_a_dataset_without_instance_maps_is_prepared(cityscapes_dataset):
    paths = list(cityscapes_dataset.source.glob("gtFine/*/*/*_instanceIds.png"))
    for path in paths[1:]:
        path.unlink()
    with pytest.raises(InputError, match=r"instanceIds\.png: not found, expected it as the instan"):
        _prepare(cityscapes_dataset)
    paths[0].unlink()
    dataset = _prepare(cityscapes_dataset)
    assert dataset.num_examples == {"train": 4, "validation": 2}
    assert dataset.schema.keys == ("image", "label")


def test_photographs_may_be_jpegs_and_macos_files_are_none(cityscapes_dataset):
    for path in list(cityscapes_dataset.source.glob("leftImg8bit/*/*/*.png")):
        picture = cv2.imread(str(path))
        path.with_suffix(".jpg").write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())
        path.rename(path.with_name(f"._{path.name}"))
    assert _prepare(cityscapes_dataset).num_examples == {"train": 4, "validation": 2}
