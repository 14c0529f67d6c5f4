import dataclasses

import numpy as np
import pytest

from sflow_jax.data.streets import simulator
from sflow_jax.data.streets.frontage import Row
from sflow_jax.data.streets.geometry import SKY, Camera, Primitive, cast
from sflow_jax.data.streets.materials import Material
from sflow_jax.data.streets.render import render
from sflow_jax.data.streets.scene import Drive, StreetScene, sample_scene

GRAY = Material("plain", np.array([[0.5, 0.5, 0.5]]))
OPEN = Row(50.0, np.array([0.0]), np.array([0.0]))
STILL = Drive(np.array([0.0, -1.5, 0.0]), 0.0, 0.0, np.zeros(3), 30.0, 0.0, 1.0, 0.46)
SIZE = {"height": 64, "width": 128}


def _rectangle(corner, right, down, **rest) -> Primitive:
    sides = (np.array(side, float) for side in (corner, right, down))
    return Primitive(*sides, label=0, instance=0, material=GRAY, **rest)


def _scene(primitives: list[Primitive], drive: Drive = STILL, **light) -> StreetScene:
    scene = sample_scene(0)
    light = dataclasses.replace(scene.light, haze=0.0, **light)
    rows = dataclasses.replace(OPEN, x=-50.0), OPEN
    return dataclasses.replace(scene, primitives=primitives, rows=rows, light=light, drive=drive)


def _flow(scene: StreetScene) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    view, following = (simulator._view(scene, frame, **SIZE) for frame in (0, 1))
    flow, occlusion = simulator._motion(scene, view, following)
    return flow, occlusion[..., 0], view.buffer.primitive


def test_flow_is_the_motion_of_things_and_of_the_camera():
    # Focal length 128, eight meters away: a meter is 16 pixels.
    card = _rectangle((-1, -2.5, 8), (2, 0, 0), (0, 2, 0), velocity=np.array([0.25, 0.0, 0.0]))
    wall = _rectangle((-90, -60, 64), (180, 0, 0), (0, 60, 0))
    flow, occlusion, primitive = _flow(_scene([card, wall]))
    np.testing.assert_allclose(flow[primitive == 0] - (4, 0), 0, atol=1e-9)
    np.testing.assert_allclose(flow[primitive == 1], 0, atol=1e-9)
    # The card hides what it will stand before: its width of motion at its right edge.
    rows, columns = np.nonzero(occlusion)
    assert sorted(set(columns)) == [80, 81, 82, 83]
    assert len(rows) == 4 * 32

    drive = dataclasses.replace(STILL, speed=1.0)  # toward the wall
    flow, _, primitive = _flow(_scene([wall], drive))
    camera = Camera(STILL.start, 0.0, 128, 64)
    rows, columns = np.nonzero(primitive == 0)
    offset = np.stack([columns, rows], -1) + 0.5 - camera.principal_point
    np.testing.assert_allclose(flow[rows, columns], offset * (64 / 63 - 1), atol=1e-9)


def test_the_sky_moves_only_where_the_camera_turns():
    still = dataclasses.replace(STILL, speed=2.0)
    flow, _, primitive = _flow(_scene([_rectangle((-1, 0, 0), (2, 0, 0), (0, 0, 9))], still))
    np.testing.assert_allclose(flow[primitive == SKY], 0, atol=1e-9)
    turning = dataclasses.replace(STILL, sway=np.array([0, 0, 0.01]), period=4.0)
    flow, _, primitive = _flow(_scene([_rectangle((-1, 0, 0), (2, 0, 0), (0, 0, 9))], turning))
    np.testing.assert_allclose(flow[32, 64, 0], -128 * np.tan(0.01), rtol=1e-3)


@pytest.mark.parametrize(("sun", "ratio"), [(0.7, 0.5), (0.0, 1.0)])
def test_the_ground_is_darker_in_the_shadow_of_things_on_photos_only(sun, ratio):
    ground = _rectangle((-30, 0, 0), (60, 0, 0), (0, 0, 90))
    wall = _rectangle((-4, -2, 6), (0, 0, 8), (0, 2, 0), casts_shadow=True)
    to_sun = np.array([-1.0, -1.0, 0.0]) / np.sqrt(2)
    scene = _scene([ground, wall], to_sun=to_sun, sun=sun, ambient=0.5)
    camera = Camera(STILL.start, 0.0, 512, 256)
    buffer = cast(scene.primitives, camera, 0)
    photo, cg = render(scene, buffer, camera, 0)
    points = camera.position + buffer.depth[..., None] * buffer.directions
    on_ground = (buffer.primitive == 0) & (points[..., 2] > 7) & (points[..., 2] < 13)
    shaded = on_ground & (points[..., 0] > -3.8) & (points[..., 0] < -2.2)
    lit = on_ground & (points[..., 0] > -1.8) & (points[..., 0] < 0)
    assert photo[shaded].mean() / photo[lit].mean() == pytest.approx(ratio, abs=0.05)
    np.testing.assert_allclose(cg[shaded].mean(), cg[lit].mean())


def test_photos_have_texture_where_cg_is_flat():
    facade = sample_scene(0).primitives
    wall = next(p for p in facade if p.material.kind == "wall")
    scene = _scene([_rectangle((-1.1, -2.6, 5), (2.2, 0, 0), (0, 2, 0))])
    scene.primitives[0] = dataclasses.replace(scene.primitives[0], material=wall.material)
    camera = Camera(STILL.start, 0.0, 128, 64)
    photo, cg = render(scene, cast(scene.primitives, camera, 0), camera, 0)
    inside = (slice(16, 32), slice(44, 84))
    assert cg[inside].std((0, 1)).max() < 1e-9
    assert photo[inside].std((0, 1)).min() > 0.02
