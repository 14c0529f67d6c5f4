import numpy as np
import pytest

from sflow_jax.ops import resize


def test_corners_stay_and_pixels_between_are_interpolated():
    maps = np.array([[0, 2, 4], [6, 8, 10]], np.float32)[None, ..., None]
    expected = [[0, 1, 2, 3, 4], [3, 4, 5, 6, 7], [6, 7, 8, 9, 10]]
    np.testing.assert_allclose(resize.resize_align_corners(maps, 3, 5)[0, ..., 0], expected)


@pytest.mark.parametrize("size", [(1, 1), (4, 7), (13, 5)])
def test_a_linear_ramp_stays_one(size):
    height, width = size
    rows, columns = np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 3, 9), indexing="ij")
    found = resize.resize_align_corners((rows + columns)[None, ..., None], height, width)
    expected = np.add.outer(np.linspace(0, 1, height), np.linspace(0, 3, width))
    np.testing.assert_allclose(found[0, ..., 0], expected, atol=1e-6)


def test_the_same_size_changes_nothing_and_one_pixel_spreads():
    maps = np.random.RandomState(0).normal(size=(2, 5, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(resize.resize_align_corners(maps, 5, 6), maps, atol=1e-6)
    spread = resize.resize_align_corners(maps[:, :1, :1], 4, 3)
    np.testing.assert_array_equal(spread, np.broadcast_to(maps[:, :1, :1], (2, 4, 3, 3)))


@pytest.mark.parametrize("size", [(12, 12), (13, 12), (97, 90), (3, 5)])
@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_windows_begin_at_the_floor_and_end_at_the_ceiling(size, bins):
    maps = np.random.RandomState(0).normal(size=(2, *size, 3)).astype(np.float32)
    found = resize.adaptive_average_pool(maps, bins)
    assert found.shape == (2, bins, bins, 3)
    for i in range(bins):
        for j in range(bins):
            top, left = (index * side // bins for index, side in zip((i, j), size, strict=True))
            bottom = -(-(i + 1) * size[0] // bins)
            right = -(-(j + 1) * size[1] // bins)
            expected = maps[:, top:bottom, left:right].mean((1, 2))
            np.testing.assert_allclose(found[:, i, j], expected, atol=1e-6)
