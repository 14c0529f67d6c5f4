"""Camera, planar primitives and the ray caster that fills a G-buffer.

World coordinates in meters: X right, Y down (the road is Y = 0), Z along the street. The axes of
the camera are the same, turned by its yaw; a pixel (column i, row j) has its center at
(i + 0.5, j + 0.5).
"""

import dataclasses
import functools

import numpy as np

from sflow_jax.data.streets.materials import Material

NEAR = 0.3  # meters; nothing closer to the camera is drawn
SKY = -1  # primitive id of a pixel that no primitive covers
SKY_DEPTH = 1000.0  # meters; what depth maps say of the sky


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        position: [3], meters.
        yaw: radians, positive to the right.
        width: image width in pixels.
        height: image height in pixels.
        lens: focal length as a share of the width; 1 is a field of view of 53 degrees.
        horizon: its row as a share of the height; a little above the middle, as on a car's
            dashboard.
    """

    position: np.ndarray
    yaw: float
    width: int
    height: int
    lens: float = 1.0
    horizon: float = 0.46

    @property
    def focal_length(self) -> float:
        """In pixels."""
        return self.lens * self.width

    @property
    def principal_point(self) -> tuple[float, float]:
        """In pixels; a camera that looks up or down is taken for one whose lens is shifted."""
        return self.width / 2, self.horizon * self.height

    @functools.cached_property
    def rotation(self) -> np.ndarray:
        """[3, 3], world to camera."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])

    def directions(self) -> np.ndarray:
        """World directions [H, W, 3] through the pixel centers, of depth 1 along the axis."""
        cx, cy = self.principal_point
        x = (np.arange(self.width) + 0.5 - cx) / self.focal_length
        y = (np.arange(self.height) + 0.5 - cy) / self.focal_length
        rays = np.stack(np.broadcast_arrays(x[None], y[:, None], 1.0), -1)
        return rays @ self.rotation

    def project(self, points: np.ndarray, at_infinity: bool = False) -> np.ndarray:
        """Projects world points (or directions) [..., 3] to column, row and depth [..., 3]."""
        offset = points if at_infinity else points - self.position
        projected = offset @ self.rotation.T
        z = projected[..., 2:]
        scale = self.focal_length / np.where(np.abs(z) < 1e-6, 1e-6, z)
        projected[..., :2] = projected[..., :2] * scale + self.principal_point
        return projected


@dataclasses.dataclass(frozen=True)
class Primitive:
    """A rectangle in space, possibly with holes.

    Attributes:
        corner: [3], meters; surface coordinates (s, r) count from here.
        right: [3], the side along s, meters.
        down: [3], the side along r, meters; perpendicular to `right`.
        label: class id.
        instance: instance id.
        material: how `materials.shade` colors it.
        mask: uint8 [h, w], part ids over the rectangle, 0 where there is a hole; None is solid.
        velocity: [3], meters per frame.
        casts_shadow: whether its shadow is drawn on the ground.
    """

    corner: np.ndarray
    right: np.ndarray
    down: np.ndarray
    label: int
    instance: int
    material: Material
    mask: np.ndarray | None = None
    velocity: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3))
    casts_shadow: bool = False

    @functools.cached_property
    def size(self) -> tuple[float, float]:
        """Lengths of the sides along s and r, meters."""
        return float(np.linalg.norm(self.right)), float(np.linalg.norm(self.down))

    def corner_at(self, frame: int) -> np.ndarray:
        """Where the corner is in a frame."""
        return self.corner + frame * self.velocity


@dataclasses.dataclass
class GBuffer:
    """What each pixel sees, [H, W].

    Attributes:
        primitive: index of the primitive, or `SKY`.
        depth: meters along the camera's axis.
        s: meters along the primitive's `right`.
        r: meters along the primitive's `down`.
        directions: [H, W, 3], world directions of depth 1.
    """

    primitive: np.ndarray
    depth: np.ndarray
    s: np.ndarray
    r: np.ndarray
    directions: np.ndarray


def normals(primitives: list[Primitive], camera: Camera, frame: int) -> np.ndarray:
    """Unit vectors [N, 3] perpendicular to primitives, toward the camera."""
    crosses = np.cross([p.right for p in primitives], [p.down for p in primitives])
    crosses /= np.linalg.norm(crosses, axis=1, keepdims=True)
    offsets = camera.position - np.array([p.corner_at(frame) for p in primitives])
    return crosses * np.where((crosses * offsets).sum(1) < 0, -1.0, 1.0)[:, None]


def cast(primitives: list[Primitive], camera: Camera, frame: int) -> GBuffer:
    """Finds the nearest primitive behind every pixel center."""
    sides = np.array([(p.right, p.down, p.corner_at(frame) - camera.position) for p in primitives])
    sides = sides @ camera.rotation.T  # [N, 3, 3]: right, down and corner as the camera sees them
    windows = _covering_windows(sides, camera)
    maps = _surface_maps(sides, camera)
    x, y = np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5
    nearness = np.full((camera.height, camera.width), 1 / SKY_DEPTH)  # 1 / depth
    index = np.full(nearness.shape, SKY, np.int32)
    for i, (left, top, right, bottom) in enumerate(windows):
        if left < right and top < bottom:
            window = slice(top, bottom), slice(left, right)
            column, row, constant = maps[i].T[:, :, None]
            by_row = row * y[top:bottom] + constant
            a, b, w = column[:, None] * x[left:right] + by_row[..., None]
            seen = (w > nearness[window]) & (a >= 0) & (a < w) & (b >= 0) & (b < w)
            if primitives[i].mask is not None:
                width, height = primitives[i].size
                a, b, depth = a[seen], b[seen], 1 / w[seen]
                seen[seen] = sample_mask(primitives[i], a * depth * width, b * depth * height) > 0
            nearness[window][seen] = w[seen]
            index[window][seen] = i
    return _fill(index, nearness, primitives, maps, camera)


def _surface_maps(sides: np.ndarray, camera: Camera) -> np.ndarray:
    """Where a pixel's ray meets the plane of each primitive.

    Along the ray d = ((x - cx) / f, (y - cy) / f, 1) a point has corner + a right + b down =
    depth d, so (a, b, 1) / depth is linear in d, and in (x, y, 1): no division per pixel.

    Returns:
        [N, 3, 3]; rows give a / depth, b / depth and 1 / depth at the pixel position (x, y, 1).
    """
    cx, cy = camera.principal_point
    f = camera.focal_length
    rays = np.array([[1 / f, 0, -cx / f], [0, 1 / f, -cy / f], [0, 0, 1]])
    matrices = np.swapaxes(sides, 1, 2)
    maps = np.zeros_like(matrices)  # a primitive seen edge-on meets no ray: 1 / depth is 0
    faces_camera = np.abs(np.linalg.det(matrices)) > 1e-6
    maps[faces_camera] = np.linalg.inv(matrices[faces_camera]) @ rays
    return maps


def _covering_windows(sides: np.ndarray, camera: Camera) -> np.ndarray:
    """The part of the image that can see each primitive: left, top, right, bottom, int [N, 4]."""
    right, down, corner = sides[:, 0], sides[:, 1], sides[:, 2]
    outline = np.stack([corner, corner + right, corner + right + down, corner + down], 1)
    following = np.roll(outline, -1, 1)
    # Where an edge passes the near plane, the part in front of the camera ends.
    run = following[..., 2] - outline[..., 2]
    share = (NEAR - outline[..., 2]) / np.where(np.abs(run) < 1e-9, 1e-9, run)
    crossing = outline + np.clip(share, 0, 1)[..., None] * (following - outline)
    points = np.concatenate([outline, crossing], 1)
    valid = np.concatenate([outline[..., 2] >= NEAR, (share > 0) & (share < 1)], 1)
    depth = np.maximum(points[..., 2:], NEAR)
    position = points[..., :2] / depth * camera.focal_length + camera.principal_point
    low = np.where(valid[..., None], position, np.inf).min(1) - 0.5
    high = np.where(valid[..., None], position, -np.inf).max(1) + 0.5
    size = (camera.width, camera.height)
    low, high = (np.clip(bound, 0, size) for bound in (np.floor(low), np.ceil(high)))
    return np.concatenate([low, high], 1).astype(int)


def _fill(
    index: np.ndarray,
    nearness: np.ndarray,
    primitives: list[Primitive],
    maps: np.ndarray,
    camera: Camera,
) -> GBuffer:
    rows, columns = np.indices(index.shape) + 0.5
    position = np.stack([columns, rows, np.ones_like(rows)], -1)
    depth = 1 / nearness
    share = np.einsum("hwij,hwj->hwi", maps[index, :2], position) * depth[..., None]
    surface = share * np.array([p.size for p in primitives])[index]
    surface[index == SKY] = 0
    return GBuffer(index, depth, surface[..., 0], surface[..., 1], camera.directions())


def sample_mask(primitive: Primitive, s: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Part ids at surface coordinates in meters; 1 everywhere on a solid primitive."""
    if primitive.mask is None:
        return np.ones(s.shape, np.uint8)
    rows, columns = primitive.mask.shape
    width, height = primitive.size
    column = np.minimum((s / width * columns).astype(int), columns - 1)
    row = np.minimum((r / height * rows).astype(int), rows - 1)
    return primitive.mask[row, column]
