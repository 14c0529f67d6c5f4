import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.runs.palettes import collect_palettes, load_palettes, save_palettes


def example(label, color_of):
    label = np.array(label, np.uint8).reshape(1, 1, -1, 1)
    image = np.array([color_of[i] for i in label.ravel()], np.uint8).reshape(1, 1, -1, 3)
    return {"label": label, "image": image, "name": "a"}


def test_palettes_are_of_the_images_and_lacking_classes_follow_the_rest():
    dark = {0: (20, 20, 20), 1: (40, 30, 20)}
    bright = {0: (120, 120, 120), 1: (140, 130, 120), 2: (200, 100, 150)}
    source = [example([0, 0, 1], dark), example([0, 1, 2, 2], bright)]
    palettes = collect_palettes(source, 4, seed=3)
    assert palettes.shape == (2, 4, 3)
    first, second = sorted(palettes, key=lambda palette: palette[0, 0])
    as_floats = {i: np.array(color) / 127.5 - 1 for i, color in bright.items()}
    for index in range(3):
        np.testing.assert_allclose(second[index], as_floats[index], atol=1e-6)
    np.testing.assert_allclose(first[1], np.array(dark[1]) / 127.5 - 1, atol=1e-6)
    # Both known classes of the dark image are 50 below their means.
    np.testing.assert_allclose(first[2], (np.array(bright[2]) - 50) / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(np.isfinite(palettes), True)


def test_a_run_keeps_its_palettes(tmp_path):
    palettes = np.random.RandomState(1).rand(5, 4, 3).astype(np.float32)
    save_palettes(tmp_path, palettes)
    np.testing.assert_array_equal(load_palettes(tmp_path, 4), palettes)
    with pytest.raises(InputError, match=r"palettes.npy: found an array of \(5, 4, 3\), expected"):
        load_palettes(tmp_path, 6)
    (tmp_path / "palettes.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"palettes.npy: found .*expected palettes of 4 classes"):
        load_palettes(tmp_path, 4)
