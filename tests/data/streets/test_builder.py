import cv2
import numpy as np
import pytest

from sflow_jax.data import images, prepared
from sflow_jax.data.streets import Streets, render_clip
from sflow_jax.errors import InputError

SIZE = {"height": 32, "width": 64}
NUMBERS = {"num_train": 5, "num_validation": 0, "num_test": 2, "seed": 4}


def _prepare(data_dir, **changes) -> prepared.PreparedDataset:
    builder = Streets(**{**SIZE, "frames": 1, **NUMBERS, **changes}, data_dir=data_dir)
    builder.download_and_prepare()
    return prepared.open_dataset(builder.data_path)


def test_examples_are_the_simulators_frames_in_order(tmp_path):
    dataset = _prepare(tmp_path)
    assert dataset.num_examples == {"train": 5, "test": 2}
    # Split k of seed s begins at street (3 s + k) * 1000000, so that no street is in two splits.
    for split, first in (("train", 12_000_000), ("test", 14_000_000)):
        source = dataset.source(split)
        for index in range(len(source)):
            example, clip = source[index], render_clip(first + index, num_frames=1, **SIZE)
            assert example["name"] == f"{split}/{index:06d}"
            for key in ("image", "label", "instance", "cg"):
                np.testing.assert_array_equal(example[key], clip[key])
            np.testing.assert_array_equal(example["depth"], clip["depth"].astype(np.float16))


def test_pairs_have_the_exact_flow_and_that_of_opencv(tmp_path):
    dataset = _prepare(tmp_path, frames=2, num_train=1, num_test=0)
    example = dataset.source("train")[0]
    assert example["name"] == "train/000000/0"
    clip = render_clip(12_000_000, num_frames=2, **SIZE)
    np.testing.assert_array_equal(example["image"], clip["image"])
    np.testing.assert_array_equal(example["exact_flow"], clip["exact_flow"][0].astype(np.float16))
    np.testing.assert_array_equal(example["occlusion"], clip["occlusion"][0])
    assert 0 < example["occlusion"].mean() < 1
    first, second = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in clip["image"])
    flow = cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    np.testing.assert_allclose(example["flow"], flow, atol=1e-2)

    prepared.export(dataset, tmp_path / "exported")
    sequence = tmp_path / "exported/train/train_000000"
    for number, frame in enumerate(clip["image"]):
        np.testing.assert_array_equal(images.read_color(sequence / f"image/{number}.png"), frame)


def test_clips_are_the_simulators_frames(tmp_path):
    dataset = _prepare(tmp_path, frames=3, num_train=1, num_test=0)
    example = dataset.source("train")[0]
    assert example.keys() == {"image", "label", "instance", "cg", "depth", "name"}
    clip = render_clip(12_000_000, num_frames=3, **SIZE)
    np.testing.assert_array_equal(example["image"], clip["image"])
    np.testing.assert_array_equal(example["cg"], clip["cg"])


def test_other_numbers_are_another_dataset():
    def directory(**changes):
        return Streets(**{**SIZE, "frames": 1, **NUMBERS, **changes}, data_dir="x").data_path

    changes = [{"seed": 5}, {"num_train": 6}, {"frames": 2}, {"height": 64}]
    assert len({directory(), *(directory(**change) for change in changes)}) == 5
    assert directory() == directory()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": -1}, r"config\.data\.streets_seed: found -1, expected 0 to"),
        ({"num_test": -3}, r"config\.data\.num_test: found -3, expected 0 to 999999"),
        ({"num_train": 10**6}, r"config\.data\.num_train: found 1000000, expected 0 to 999999"),
    ],
)
def test_numbers_out_of_range_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        Streets(**{**SIZE, "frames": 1, **NUMBERS, **changes})
