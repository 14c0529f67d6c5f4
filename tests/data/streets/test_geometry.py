import dataclasses

import numpy as np
import pytest

from sflow_jax.data.streets import geometry
from sflow_jax.data.streets.geometry import SKY, Camera, Primitive, cast

CAMERA = Camera(np.array([0.5, -1.5, 2.0]), yaw=0.1, width=64, height=32)
AHEAD = Camera(np.zeros(3), yaw=0.0, width=64, height=32)


def _card(x, y, z, width, height, **rest) -> Primitive:
    return Primitive(
        corner=np.array([x, y, z], float),
        right=np.array([width, 0.0, 0.0]),
        down=np.array([0.0, height, 0.0]),
        label=0,
        instance=0,
        material=None,
        **rest,
    )


def test_a_point_along_a_pixels_ray_is_projected_to_that_pixel():
    points = CAMERA.position + 7.5 * CAMERA.directions()
    projected = CAMERA.project(points)
    rows, columns = np.mgrid[0:32, 0:64] + 0.5
    np.testing.assert_allclose(projected[..., 0], columns, atol=1e-9)
    np.testing.assert_allclose(projected[..., 1], rows, atol=1e-9)
    np.testing.assert_allclose(projected[..., 2], 7.5)
    at_infinity = CAMERA.project(CAMERA.directions(), at_infinity=True)
    np.testing.assert_allclose(at_infinity[..., 0], columns, atol=1e-9)


def test_a_card_covers_the_pixels_that_its_size_and_distance_say():
    cx, cy = AHEAD.principal_point  # focal length 64: one meter at 8 meters is 8 pixels
    buffer = cast([_card(-1, -0.5, 8, 2, 1)], AHEAD, 0)
    rows, columns = np.nonzero(buffer.primitive == 0)
    assert (columns.min(), columns.max() + 1) == (cx - 8, cx + 8)
    assert rows.min() + 0.5 > cy - 4
    assert rows.max() + 0.5 < cy + 4
    assert len(rows) == 16 * 8
    np.testing.assert_allclose(buffer.depth[rows, columns], 8)
    np.testing.assert_allclose(buffer.s[rows, columns], (columns + 0.5 - cx) / 8 + 1)
    assert (buffer.depth[buffer.primitive == SKY] == geometry.SKY_DEPTH).all()


def test_the_nearest_wins_and_one_looks_through_holes():
    mask = np.array([[1, 0], [1, 2]], np.uint8)
    near, far = _card(-1, -1, 6, 2, 2, mask=mask), _card(-5, -5, 9, 10, 10)
    for order in ([near, far], [far, near]):
        buffer = cast(order, AHEAD, 0)
        cx, cy = (int(c) for c in AHEAD.principal_point)
        seen = np.array(order, object)[buffer.primitive[cy - 5 : cy + 6 : 10, cx - 5 : cx + 6 : 10]]
        assert (seen == np.array([[near, far], [near, near]], object)).all()


def test_a_moving_card_is_where_its_velocity_takes_it():
    card = _card(-1, -0.5, 8, 2, 1, velocity=np.array([0.25, 0.0, 0.0]))
    first, third = (cast([card], AHEAD, frame).primitive for frame in (0, 2))
    np.testing.assert_array_equal(np.roll(first, 4, axis=1), third)  # 0.5 m are 4 pixels


@pytest.mark.parametrize("seed", range(3))
def test_casting_equals_intersecting_every_ray_with_every_plane(seed):
    rng = np.random.default_rng(seed)
    primitives = []
    for _ in range(12):  # some of them beside, behind or across the camera
        right, down = rng.normal(0, 4, 3), rng.normal(0, 4, 3)
        down -= right * (right @ down) / (right @ right)
        corner = CAMERA.position + rng.normal(0, 4, 3) + (0, 0, 3)
        primitives.append(Primitive(corner, right, down, 0, 0, None))
    buffer = cast(primitives, CAMERA, 0)

    depth, index = np.full((32, 64), geometry.SKY_DEPTH), np.full((32, 64), SKY)
    for i, p in enumerate(primitives):
        # corner + a right + b down = position + depth * direction, solved for each pixel
        for pixel in np.ndindex(32, 64):
            system = np.stack([p.right, p.down, -CAMERA.directions()[pixel]], 1)
            a, b, along = np.linalg.solve(system, CAMERA.position - p.corner)
            if 0 <= a < 1 and 0 <= b < 1 and 0 < along < depth[pixel]:
                depth[pixel], index[pixel] = along, i
    differs = index != buffer.primitive
    near = depth < geometry.NEAR * 1.5  # what is cut away before the lens may differ
    assert not (differs & ~near).any()
    same = ~differs & ~near
    np.testing.assert_allclose(buffer.depth[same], depth[same], rtol=1e-6)


def test_normals_are_perpendicular_and_face_the_camera():
    rng = np.random.default_rng(0)
    slanted = [
        dataclasses.replace(_card(*rng.normal(0, 5, 3), 1, 1), right=right, down=down)
        for right, down in rng.normal(0, 1, (20, 2, 3))
    ]
    normals = geometry.normals(slanted, CAMERA, 0)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    for primitive, normal in zip(slanted, normals, strict=True):
        assert abs(normal @ primitive.right) < 1e-9
        assert abs(normal @ primitive.down) < 1e-9
        assert normal @ (CAMERA.position - primitive.corner) > 0
