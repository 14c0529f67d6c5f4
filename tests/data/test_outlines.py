"""Gaps in crowns of trees."""

import numpy as np

from sflow_jax.data.outlines import fill_gaps

SKY, TREE, POLE = 0, 5, 2
BEHIND = np.zeros(256, bool)
BEHIND[[SKY, 1]] = True


def crown():
    """A crown of 20x24 pixels in a sky of 64x64, with gaps of 3 pixels and a pole before it."""
    label_map = np.full((64, 64), SKY, np.uint8)
    label_map[10:30, 12:36] = TREE
    label_map[14:17, 20:23] = SKY
    label_map[20:23, 28:31] = 1
    label_map[5:60, 16] = POLE
    return label_map


def test_gaps_are_filled_and_what_stands_before_stays():
    found = fill_gaps(crown(), TREE, BEHIND)
    assert np.all(found[12:28, 17:34] == TREE)
    np.testing.assert_array_equal(found == POLE, crown() == POLE)
    assert np.all(found[:, 40:] == SKY)
    assert np.all(found[35:, :15] == SKY)


def test_wide_gaps_and_other_classes_stay():
    label_map = crown()
    label_map[12:24, 20:32] = SKY  # three times as wide as what is filled
    found = fill_gaps(label_map, TREE, BEHIND)
    assert np.all(found[15:21, 23:29] == SKY)
    no_tree = np.full((32, 32), SKY, np.uint8)
    np.testing.assert_array_equal(fill_gaps(no_tree, TREE, BEHIND), no_tree)
    everything = np.full((32, 32), TREE, np.uint8)
    np.testing.assert_array_equal(fill_gaps(everything, TREE, BEHIND), everything)


def test_a_crown_at_the_border_does_not_grow_along_it():
    label_map = np.full((64, 64), SKY, np.uint8)
    label_map[:8, :8] = TREE
    np.testing.assert_array_equal(fill_gaps(label_map, TREE, BEHIND), label_map)
