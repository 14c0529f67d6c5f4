import numpy as np
import pytest
from PIL import Image

from configs import streets
from sflow_jax.errors import InputError
from sflow_jax.playground.scene import stored_scenes, uploaded_scene
from sflow_jax.prepare import prepare
from tests.tiny_run import TABLE, random_frame, write_frame


@pytest.fixture
def files(tmp_path):
    write_frame(tmp_path, "town", random_frame(0))
    return tmp_path / "label/town.png", tmp_path / "cg/town.png"


def test_scenes_are_those_of_the_test_split(tmp_path):
    data = streets.get_test_config().data
    data.data_dir, data.num_train = str(tmp_path), 1
    dataset = prepare(data)
    scenes = stored_scenes(dataset.directory)
    examples = list(dataset.source("test"))
    assert list(scenes) == [example["name"] for example in examples]
    for scene, example in zip(scenes.values(), examples, strict=True):
        np.testing.assert_array_equal(scene.label, example["label"][0])
        np.testing.assert_array_equal(scene.edge_image, example["cg"][0])


def test_uploads_are_read(files):
    scene = uploaded_scene(*files, TABLE)
    np.testing.assert_array_equal(scene.label, random_frame(0)["label"])
    np.testing.assert_array_equal(scene.edge_image, random_frame(0)["cg"])


def test_a_frame_may_be_of_any_format_of_photographs(files, tmp_path):
    label, _ = files
    for suffix, most in ((".jpg", 2), (".bmp", 0), (".webp", 4)):
        path = tmp_path / f"town{suffix}"
        Image.fromarray(np.full((32, 40, 3), 90, np.uint8)).save(path)
        found = uploaded_scene(label, path, TABLE).edge_image
        assert np.abs(found.astype(int) - 90).max() <= most


def test_bad_uploads_are_named_without_their_folders(files, tmp_path):
    label, frame = files
    write_frame(tmp_path, "small", random_frame(0, (16, 12)))
    small = tmp_path / "label/small.png", tmp_path / "cg/small.png"
    for paths, expected in (
        ((label, None), "found no CG frame, expected two files, a label map and a CG frame"),
        ((label, small[1]), r"small\.png: found 12x16 pixels, expected 40x32 as in town\.png"),
        (small, r"small\.png: found 12x16 pixels, expected at least 16x16"),
        ((frame, frame), r"town\.png: found a 40x32 RGB PNG with 8 bits, expected one 8-bit .*"),
    ):
        with pytest.raises(InputError, match=f"^{expected}$"):
            uploaded_scene(*paths, TABLE)
