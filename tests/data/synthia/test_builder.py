import shutil

import numpy as np
import pytest

from configs import default
from sflow_jax.data import flow, images, labels, synthia
from sflow_jax.errors import InputError
from sflow_jax.prepare import prepare

LONG = "SYNTHIA-SEQS-04-DAWN/Stereo_Left/Omni_F"
MEDIUM = "SYNTHIA-SEQS-04-DAWN/Stereo_Right/Omni_B"
SHORT = "SYNTHIA-SEQS-05-FALL/Stereo_Left/Omni_L"


def _builder(dataset, frames=1, height=6, width=8, source=None) -> synthia.Synthia:
    return synthia.Synthia(
        source=source or dataset.source,
        height=height,
        width=width,
        frames=frames,
        data_dir=dataset.data_dir,
    )


def _names(sequence: str, numbers) -> list[str]:
    return [f"{sequence}/{number:06d}" for number in numbers]


def _prepare(dataset, **changes):
    fields = {"dataset": "synthia", "source": str(dataset.source), "frames": 1, "frame_step": 1}
    fields |= {"data_dir": str(dataset.data_dir), "height": 0, "width": 0}
    config = default.get_config().data
    config.update(fields | changes)
    return prepare(config)


def test_frames_are_prepared_with_labels_and_instances(synthia_dataset):
    dataset = _prepare(synthia_dataset)
    assert dataset.class_table == labels.SYNTHIA
    names = {split: [] for split in dataset.num_examples}
    for split in names:
        for arrays in dataset.source(split):
            original = synthia_dataset.arrays[arrays["name"]]
            for key in ("image", "label", "instance"):
                np.testing.assert_array_equal(arrays[key][0], original[key])
            names[split].append(arrays["name"])
    assert names == {
        "train": _names(LONG, range(16)) + _names(MEDIUM, range(8)) + _names(SHORT, range(3)),
        "validation": _names(LONG, (16, 17)) + _names(MEDIUM, [8]),
        "test": _names(LONG, (18, 19)) + _names(MEDIUM, [9]),
    }


def test_pairs_lie_within_the_blocks_of_single_frames(synthia_dataset):
    dataset = _prepare(synthia_dataset, frames=2)
    names = {
        split: [arrays["name"] for arrays in dataset.source(split)]
        for split in dataset.num_examples
    }
    assert names == {
        "train": _names(LONG, range(15)) + _names(MEDIUM, range(7)) + _names(SHORT, range(2)),
        "validation": _names(LONG, [16]),
        "test": _names(LONG, [18]),
    }
    arrays = dataset.source("validation")[0]
    originals = [synthia_dataset.arrays[name] for name in _names(LONG, (16, 17))]
    for key in ("image", "label", "instance"):
        np.testing.assert_array_equal(arrays[key], [original[key] for original in originals])
    expected = flow.farneback_flow(*arrays["image"]).astype(np.float16)
    np.testing.assert_array_equal(arrays["flow"], expected)


def test_a_single_drive_is_a_source_and_empty_splits_are_left_out(synthia_dataset):
    source = synthia_dataset.source / "SYNTHIA-SEQS-05-FALL"
    for frames, size in ((1, 3), (2, 2)):
        builder = _builder(synthia_dataset, frames, source=source)
        assert builder.split_sizes == {"train": size}
        assert [arrays["name"] for arrays in builder.examples("train")] == _names(
            SHORT, range(size)
        )


def test_examples_are_resized(synthia_dataset):
    arrays = next(_builder(synthia_dataset, height=3, width=5).examples("train"))
    original = synthia_dataset.arrays[arrays["name"]]
    np.testing.assert_array_equal(arrays["image"][0], images.resize_color(original["image"], 3, 5))
    for key in ("label", "instance"):
        np.testing.assert_array_equal(arrays[key][0], images.resize_map(original[key], 3, 5))


@pytest.mark.parametrize("key", ["image", "annotation"])
def test_a_missing_partner_is_named(key, synthia_dataset):
    path = synthia_dataset.path(key, f"{MEDIUM}/000004")
    path.unlink()
    with pytest.raises(InputError) as error:
        _builder(synthia_dataset)
    other = {"image": "annotation", "annotation": "image"}[key]
    partner = synthia_dataset.path(other, f"{MEDIUM}/000004")
    assert str(error.value) == f"{path}: not found, expected it as the {key} of {partner}"


@pytest.mark.parametrize("key", ["image", "annotation"])
def test_a_missing_camera_is_a_missing_partner(key, synthia_dataset):
    path = synthia_dataset.path(key, f"{SHORT}/000000")
    shutil.rmtree(path.parent)
    with pytest.raises(InputError, match=f"^{path}: not found, expected it as the {key} of"):
        _builder(synthia_dataset)


def test_colors_in_place_of_class_ids_are_refused(synthia_dataset):
    path = synthia_dataset.path("annotation", f"{SHORT}/000001")
    shutil.copy(synthia_dataset.path("GT/COLOR", f"{SHORT}/000001"), path)
    with pytest.raises(InputError) as error:
        _builder(synthia_dataset).check()
    assert str(error.value) == (
        f"{path}: found a 8x6 RGB PNG with 8 bits, expected an RGB PNG of 16 bits: class ids in "
        "red, instance numbers in green"
    )


def test_a_truncated_annotation_is_found_before_anything_is_written(synthia_dataset):
    path = synthia_dataset.path("annotation", f"{SHORT}/000001")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=f"^{path}: truncated PNG: found"):
        _builder(synthia_dataset).check()


def test_sizes_must_agree_within_a_frame(synthia_dataset):
    path = synthia_dataset.path("annotation", f"{LONG}/000017")
    synthia_dataset.write(path, np.zeros((3, 4, 3), np.uint16))
    image = synthia_dataset.path("image", f"{LONG}/000017")
    with pytest.raises(InputError) as error:
        _builder(synthia_dataset).check()
    assert str(error.value) == f"{path}: found 4x3 pixels, expected 8x6 as in {image}"


def test_pairs_need_consecutive_frames(synthia_dataset):
    for key in ("image", "annotation"):
        synthia_dataset.path(key, f"{LONG}/000005").unlink()
    path = synthia_dataset.path("image", f"{LONG}/000006")
    with pytest.raises(InputError, match=f"^{path}: found this frame after 000004.png, expected"):
        _builder(synthia_dataset, frames=2)
    assert sum(_builder(synthia_dataset).split_sizes.values()) == 32


def test_pairs_need_two_frames(synthia_dataset):
    for key in ("image", "annotation"):
        for number in (1, 2):
            synthia_dataset.path(key, f"{SHORT}/{number:06d}").unlink()
    with pytest.raises(InputError, match="Omni_L: found 1 frame, expected at least 2"):
        _builder(synthia_dataset, frames=2)


def test_an_empty_sequence_is_an_error(synthia_dataset):
    folder = synthia_dataset.source / "SYNTHIA-SEQS-05-FALL" / "RGB" / "Stereo_Left" / "Omni_R"
    folder.mkdir()
    with pytest.raises(InputError, match=f"^{folder}: found no images, expected 000000.png"):
        _builder(synthia_dataset)


def test_other_folders_are_refused(synthia_dataset, tmp_path):
    with pytest.raises(InputError, match="nowhere: found nothing, expected a folder"):
        _builder(synthia_dataset, source=tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match="empty: found no drive, expected folders SYNTHIA-SEQS-NN"):
        _builder(synthia_dataset, source=empty)
    drive = empty / "SYNTHIA-SEQS-01-FOG"
    drive.mkdir()
    with pytest.raises(InputError, match=f"^{drive}: found no camera, expected folders RGB/Stereo"):
        _builder(synthia_dataset, source=empty)
