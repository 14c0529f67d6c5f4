import dataclasses

import numpy as np

from sflow_jax.data.streets.frontage import Row
from sflow_jax.data.streets.geometry import Primitive
from sflow_jax.data.streets.lighting import GroundShadows, building_shadow, sample_light

# 45 degrees high on the left: a shadow is as long as its object is high, and lies to the right.
SUN = np.array([-1.0, -1.0, 0.0]) / np.sqrt(2)


def _light(to_sun: np.ndarray):
    return dataclasses.replace(sample_light(np.random.default_rng(0)), to_sun=to_sun, sun=0.7)


def _shadow_on_ground(primitive: Primitive, frame: int, x: list[float], z: float) -> np.ndarray:
    shadows = GroundShadows([primitive], _light(SUN), camera_z=0.0, frame=frame)
    return shadows.at(np.array([(value, 0.0, z) for value in x]))


def _standing(right, mask=None) -> Primitive:
    return Primitive(
        corner=np.array([0.0, -2.0, 10.0]),
        right=np.array(right, float),
        down=np.array([0.0, 2.0, 0.0]),
        label=0,
        instance=0,
        material=None,
        mask=mask,
        velocity=np.array([1.0, 0.0, 0.0]),
        casts_shadow=True,
    )


def test_a_wall_of_two_meters_casts_two_meters_of_shadow_away_from_the_sun():
    wall = _standing((0, 0, 4))
    assert _shadow_on_ground(wall, 0, [-0.5, 0.5, 1.5, 2.5], 12).round(2).tolist() == [0, 1, 1, 0]
    assert _shadow_on_ground(wall, 0, [1.0], 9) == 0
    assert _shadow_on_ground(wall, 3, [2.5, 3.5, 4.5, 5.5], 12).round(2).tolist() == [0, 1, 1, 0]


def test_a_card_with_a_mask_is_turned_to_the_sun_and_its_holes_let_light_through():
    lower_half = np.repeat(np.array([[0], [1]], np.uint8), 32, 0).repeat(64, 1)
    card = _standing((2, 0, 0), lower_half)  # its middle is at x = 1
    shade = _shadow_on_ground(card, 0, [0.7, 1.5, 2.5], 10)
    assert shade.round(2).tolist() == [0, 1, 0]
    assert _shadow_on_ground(card, 0, [1.5], 10.8) > 0.9
    assert _shadow_on_ground(card, 0, [1.5], 11.4) == 0


def test_buildings_shade_the_street_as_far_as_they_are_high():
    left = Row(-10.0, np.array([0.0, 20.0]), np.array([8.0, 0.0]))  # a gap from z = 20
    right = Row(10.0, np.array([0.0]), np.array([50.0]))
    points = np.array([[[x, -1.0, z] for x in (-9.0, -4.0, -2.0, 5.0)] for z in (10.0, 30.0)])
    shade = building_shadow(points, (left, right), _light(SUN))
    assert shade.tolist() == [[True, True, False, False], [False] * 4]
    mirrored = building_shadow(points * [-1, 1, 1], (left, right), _light(SUN * [-1, 1, 1]))
    assert mirrored.all()  # the tall row on the right, with the sun behind it
