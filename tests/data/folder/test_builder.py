import pathlib
import shutil

import cv2
import numpy as np
import pytest

from sflow_jax.data import folder, images, prepared
from sflow_jax.data.frame_files import consecutive, windows
from sflow_jax.errors import InputError


def _builder(dataset, height=6, width=8, frames=1) -> folder.Folder:
    return folder.Folder(
        source=dataset.source, height=height, width=width, frames=frames, data_dir=dataset.data_dir
    )


def _error(dataset, **options) -> str:
    """The message of the error that stops the preparation, whenever it is found."""
    with pytest.raises(InputError) as error:
        _prepare(dataset, **options)
    assert not list(dataset.data_dir.glob("**/dataset_info.json"))
    return str(error.value)


def _prepare(dataset, **options) -> prepared.PreparedDataset:
    builder = _builder(dataset, **options)
    builder.check()
    builder.download_and_prepare()
    return prepared.open_dataset(builder.data_path)


def test_all_splits_are_prepared(folder_dataset):
    dataset = _prepare(folder_dataset)
    assert dataset.num_examples == {"train": 6, "validation": 3}
    assert dataset.class_table == folder_dataset.table
    for split in dataset.num_examples:
        for arrays in dataset.source(split):
            original = folder_dataset.arrays[split, arrays["name"]]
            for key, array in original.items():
                np.testing.assert_array_equal(arrays[key][0], array)


def test_cg_and_instance_are_optional(folder_dataset):
    for path in folder_dataset.source.glob("*/*/*"):
        if path.name in ("cg", "instance"):
            shutil.rmtree(path)
    dataset = _prepare(folder_dataset)
    assert not dataset.schema.cg
    assert not dataset.schema.instance
    assert set(dataset.source("train")[0]) == {"image", "label", "name"}


def test_size_0_keeps_the_size_of_the_files(folder_dataset):
    schema = _prepare(folder_dataset, height=0, width=0).schema
    assert (schema.height, schema.width) == (6, 8)


def test_size_0_needs_one_size(folder_dataset):
    sequence = folder_dataset.source / "validation" / "seq_a"
    for path in sequence.glob("*/f002.png"):
        channels = 3 if path.parent.name in ("image", "cg") else 1
        folder_dataset.write(path, np.zeros((4, 4, channels), np.uint8))
    first = folder_dataset.source / "train/seq_a/image/f001.png"
    assert _error(folder_dataset, height=0, width=0) == (
        f"{sequence / 'image/f002.png'}: found 4x4 pixels, expected 8x6 as in {first}"
    )
    assert _prepare(folder_dataset, height=6, width=8).num_examples["validation"] == 3


@pytest.mark.parametrize(("height", "width"), [(0, 8), (6, 0), (-6, -8)])
def test_half_a_size_is_refused(height, width, folder_dataset):
    message = _error(folder_dataset, height=height, width=width)
    assert message.startswith(f"config.data.height and width: found {height} and {width}")


def test_pairs_have_the_flow_of_opencv(folder_dataset):
    # A texture that moves by (3, 1) pixels per frame.
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (80, 120, 3)).astype(np.uint8), (0, 0), 2)
    for path in folder_dataset.source.glob("*/*/*/*.png"):
        number = int(path.stem[1:])
        window = texture[10 - number : 74 - number, 12 - 3 * number : 108 - 3 * number]
        is_color = path.parent.name in ("image", "cg")
        folder_dataset.write(path, window if is_color else np.zeros((64, 96, 1), np.uint8))
    dataset = _prepare(folder_dataset, height=0, width=0, frames=2)
    assert dataset.num_examples == {"train": 4, "validation": 2}
    arrays = dataset.source("train")[0]
    assert arrays["image"].shape == (2, 64, 96, 3)
    assert arrays["flow"].dtype == np.float16
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in arrays["image"]]
    flow = cv2.calcOpticalFlowFarneback(*gray, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    np.testing.assert_array_equal(arrays["flow"], flow.astype(np.float16))
    assert np.abs(arrays["flow"][20:44, 20:76] - (3, 1)).max() < 0.5
    assert [a["name"] for a in dataset.source("train")] == [
        f"seq_{sequence}/f00{number}" for sequence in "ab" for number in (1, 2)
    ]


def test_exported_pairs_are_their_sequences_again(folder_dataset, tmp_path):
    pairs = _prepare(folder_dataset, frames=2)
    prepared.export(pairs, tmp_path / "exported")
    for (split, name), arrays in folder_dataset.arrays.items():
        sequence, _, stem = name.partition("/")
        path = tmp_path / "exported" / split / sequence / "image" / f"{stem}.png"
        np.testing.assert_array_equal(images.read_color(path), arrays["image"])
    assert len(list((tmp_path / "exported").glob("*/*/image/*.png"))) == len(folder_dataset.arrays)
    folder_dataset.source = tmp_path / "exported"
    again = _prepare(folder_dataset, frames=2)
    assert again.num_examples == pairs.num_examples
    for one, other in zip(again.source("train"), pairs.source("train"), strict=True):
        assert one["name"] == other["name"]
        np.testing.assert_array_equal(one["flow"], other["flow"])


def test_a_gap_in_a_sequence_of_pairs_is_named(folder_dataset):
    sequence = folder_dataset.source / "train" / "seq_b"
    for path in sequence.glob("*/f003.png"):
        path.rename(path.with_stem("f004"))
    assert _error(folder_dataset, frames=2) == (
        f"{sequence / 'image/f004.png'}: found this frame after f002.png, expected number 3: "
        "the frames of a sequence must be consecutive "
        "(frame_step=0 takes frames in the order of their names)"
    )
    assert _prepare(folder_dataset, frames=1).num_examples["train"] == 6


def test_clips_have_the_frames_of_their_windows(folder_dataset):
    for number in (4, 5):
        for key in ("image", "label", "cg", "instance"):
            original = folder_dataset.source / f"train/seq_b/{key}/f00{number - 3}.png"
            shutil.copy(original, original.with_name(f"f00{number}.png"))
    dataset = _prepare(folder_dataset, frames=3)
    assert dataset.directory.parent.name.startswith("8x6x3-")
    assert dataset.num_examples == {"train": 4, "validation": 1}
    assert dataset.schema.keys == ("image", "label", "instance", "cg")
    source = dataset.source("train")
    assert [source[i]["name"] for i in range(4)] == [
        "seq_a/f001", "seq_b/f001", "seq_b/f002", "seq_b/f003",
    ]  # fmt: skip
    for key, array in source[2].items():
        if key != "name":
            frames = [folder_dataset.arrays["train", f"seq_b/f00{k}"][key] for k in (2, 3, 1)]
            np.testing.assert_array_equal(array, frames)

    exported = folder_dataset.source.parent / "exported"
    prepared.export(dataset, exported)
    names = sorted(path.name for path in (exported / "train/seq_b/image").iterdir())
    assert names == [f"f00{k}.png" for k in range(1, 6)]


@pytest.mark.parametrize(
    ("num_frames", "starts"),
    [(1, [0, 1, 2, 3, 4, 5, 6]), (2, [0, 1, 2, 3, 4, 5]), (4, [0, 2, 3]), (7, [0]), (8, [])],
)
def test_windows_hold_every_frame(num_frames, starts):
    clips = windows(range(7), num_frames)
    assert clips == [tuple(range(start, start + num_frames)) for start in starts]


def test_a_sequence_is_too_short_for_clips(folder_dataset):
    sequence = folder_dataset.source / "train" / "seq_a"
    assert _error(folder_dataset, frames=4) == (
        f"{sequence}: found 3 frames, expected at least 4, as config.data.frames says"
    )


def test_a_single_frame_is_no_sequence_of_pairs(folder_dataset):
    sequence = folder_dataset.source / "train" / "seq_b"
    for path in [*sequence.glob("*/f001.png"), *sequence.glob("*/f003.png")]:
        path.unlink()
    assert _error(folder_dataset, frames=2).startswith(f"{sequence}: found 1 frame")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a_1", "a_2", "a_4"], r"a_4\.png: found this frame after a_2\.png, expected number 3"),
        (["a_1", "b_2"], r"b_2\.png: found this frame after a_1\.png"),
        (["a_1", "a_01"], "expected number 2"),
        (["a_1", "a_2b"], r"a_2b\.png: found no frame number, expected one at the end"),
    ],
)
def test_frames_that_are_not_consecutive(names, message):
    with pytest.raises(InputError, match=message):
        consecutive({name: pathlib.Path(f"{name}.png") for name in names})


def test_frames_are_ordered_by_number():
    names = [f"clip_{number}" for number in (10, 9, 11)]
    ordered = consecutive({name: pathlib.Path(f"{name}.png") for name in names})
    assert ordered == ["clip_9", "clip_10", "clip_11"]


@pytest.mark.parametrize("key", ["image", "label", "cg", "instance"])
def test_a_missing_partner_is_named(key, folder_dataset):
    path = folder_dataset.source / "train" / "seq_b" / key / "f002.png"
    path.unlink()
    assert _error(folder_dataset).startswith(f"{path}: not found, expected it as the {key} of")


def test_a_sequence_that_lacks_a_folder_is_named(folder_dataset):
    sequence = folder_dataset.source / "train" / "seq_b"
    shutil.rmtree(sequence / "cg")
    assert _error(folder_dataset).startswith(f"{sequence / 'cg'}: not found, expected it because")
    shutil.rmtree(sequence / "label")
    assert _error(folder_dataset) == (
        f"{sequence / 'label'}: not found, expected a folder with images"
    )


def test_empty_places_are_named(folder_dataset):
    sequence = folder_dataset.source / "train" / "seq_b"
    for path in sequence.glob("*/*.png"):
        path.unlink()
    expected = f"{sequence / 'image'}: found no images, expected the frames"
    assert _error(folder_dataset) == expected
    for split in ("train", "validation"):
        shutil.rmtree(folder_dataset.source / split)
    assert _error(folder_dataset).startswith(f"{folder_dataset.source}: found no split, expected")
    (folder_dataset.source / "train").mkdir()
    assert "train: found no sequence" in _error(folder_dataset)


def test_a_split_of_another_name_is_not_overlooked(folder_dataset):
    folder_dataset.source.joinpath("validation").rename(folder_dataset.source / "val")
    message = _error(folder_dataset)
    assert message == (
        f"{folder_dataset.source / 'val'}: found a split of this name, "
        "expected train, validation, test"
    )


def test_a_missing_or_bad_class_table_is_named(folder_dataset):
    path = folder_dataset.source / "classes.json"
    path.write_text("{")
    assert _error(folder_dataset).startswith(f"{path}: ")
    path.unlink()
    assert _error(folder_dataset).startswith(f"{path}: not found")


@pytest.mark.parametrize(
    ("key", "array", "message"),
    [
        ("label", np.full((6, 8, 1), 4, np.uint8), "found label 4, expected only the 3 ids"),
        ("label", np.zeros((6, 8, 3), np.uint8), "RGB PNG with 8 bits, expected one 8-bit class"),
        ("label", np.zeros((6, 8, 1), np.uint16), "gray PNG with 16 bits, expected one 8-bit"),
        ("label", np.zeros((6, 9, 1), np.uint8), "found 9x6 pixels, expected 8x6 as in"),
        ("cg", np.zeros((5, 8, 3), np.uint8), "found 8x5 pixels, expected 8x6 as in"),
        ("image", np.zeros((6, 8, 3), np.uint16), "16 bits, expected 8 bits per channel"),
        ("instance", np.zeros((6, 8, 3), np.uint8), "expected a gray PNG of 8 or 16 bits"),
    ],
)
def test_a_bad_image_is_named(key, array, message, folder_dataset):
    path = folder_dataset.source / "validation" / "seq_a" / key / "f002.png"
    folder_dataset.write(path, array)
    found = _error(folder_dataset)
    assert found.startswith(f"{path}: ")
    assert message in found


def test_a_truncated_image_is_named_before_anything_is_written(folder_dataset):
    path = folder_dataset.source / "validation" / "seq_a" / "cg" / "f002.png"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=f"{path}: truncated PNG"):
        _builder(folder_dataset).check()


def test_the_name_of_a_prepared_dataset_changes_with_its_source(folder_dataset):
    def name() -> str:
        return _builder(folder_dataset).data_path.parent.name

    before = name()
    assert before.startswith("8x6-")
    assert name() == before
    path = folder_dataset.source / "train/seq_a/label/f001.png"
    folder_dataset.write(path, np.full((6, 8, 1), 3, np.uint8))
    changed = name()
    assert changed != before
    (folder_dataset.source / "classes.json").write_text(
        folder_dataset.table.to_json().replace("car", "van")
    )
    assert name() not in (before, changed)
