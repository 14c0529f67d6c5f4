"""Camera, planar primitives and the ray caster that fills a G-buffer.

World coordinates in metres: X right, Y down (the road is Y = 0), Z along the street. The axes of
the camera are the same, turned by its yaw; a pixel (column i, row j) has its centre at
(i + 0.5, j + 0.5).
"""

import dataclasses
import functools

import numpy as np

NEAR = 0.3  # metres; nothing closer to the camera is drawn
SKY = -1  # primitive id of a pixel that no primitive covers
SKY_DEPTH = 1000.0  # metres; what depth maps say of the sky


@dataclasses.dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        position: [3], metres.
        yaw: radians, positive to the right.
        width: image width in pixels; the focal length is as long, a field of view of 53 degrees.
        height: image height in pixels.
    """

    position: np.ndarray
    yaw: float
    width: int
    height: int

    @property
    def focal_length(self) -> float:
        """In pixels."""
        return float(self.width)

    @property
    def principal_point(self) -> tuple[float, float]:
        """In pixels; the horizon lies a little above the middle, as on a car's dashboard."""
        return self.width / 2, 0.46 * self.height

    @functools.cached_property
    def rotation(self) -> np.ndarray:
        """[3, 3], world to camera."""
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])

    def directions(self) -> np.ndarray:
        """World directions [H, W, 3] through the pixel centres, of depth 1 along the axis."""
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
        corner: [3], metres; surface coordinates (s, r) count from here.
        right: [3], the side along s, metres.
        down: [3], the side along r, metres; perpendicular to `right`.
        label: class id.
        instance: instance id.
        material: what `materials.shade` knows how to colour.
        mask: uint8 [h, w], part ids over the rectangle, 0 where there is a hole; None is solid.
        velocity: [3], metres per frame.
    """

    corner: np.ndarray
    right: np.ndarray
    down: np.ndarray
    label: int
    instance: int
    material: object
    mask: np.ndarray | None = None
    velocity: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(3))

    @functools.cached_property
    def size(self) -> tuple[float, float]:
        """Lengths of the sides along s and r, metres."""
        return float(np.linalg.norm(self.right)), float(np.linalg.norm(self.down))

    @functools.cached_property
    def normal(self) -> np.ndarray:
        """[3], of unit length."""
        width, height = self.size
        return np.cross(self.right, self.down) / (width * height)

    @functools.cached_property
    def outline(self) -> np.ndarray:
        """[4, 3], its corners relative to the first one, metres."""
        return np.array([0 * self.right, self.right, self.down, self.right + self.down])

    def corner_at(self, frame: int) -> np.ndarray:
        """Where the corner is in a frame."""
        return self.corner + frame * self.velocity


@dataclasses.dataclass
class GBuffer:
    """What each pixel sees, [H, W].

    Attributes:
        primitive: index of the primitive, or `SKY`.
        depth: metres along the camera's axis.
        s: metres along the primitive's `right`.
        r: metres along the primitive's `down`.
        directions: [H, W, 3], world directions of depth 1.
    """

    primitive: np.ndarray
    depth: np.ndarray
    s: np.ndarray
    r: np.ndarray
    directions: np.ndarray


def cast(primitives: list[Primitive], camera: Camera, frame: int) -> GBuffer:
    """Finds the nearest primitive behind every pixel centre."""
    shape = (camera.height, camera.width)
    buffer = GBuffer(
        primitive=np.full(shape, SKY, np.int32),
        depth=np.full(shape, SKY_DEPTH),
        s=np.zeros(shape),
        r=np.zeros(shape),
        directions=camera.directions(),
    )
    for index, primitive in enumerate(primitives):
        window = _covering_window(primitive, camera, frame)
        if window is not None:
            _cast_one(index, primitive, camera, frame, window, buffer)
    return buffer


def _covering_window(
    primitive: Primitive, camera: Camera, frame: int
) -> tuple[slice, slice] | None:
    projected = camera.project(primitive.corner_at(frame) + primitive.outline)
    in_front = projected[:, 2] > NEAR
    if not in_front.any():
        return None
    if not in_front.all():  # it passes the camera: the projection has no bounding box
        return slice(0, camera.height), slice(0, camera.width)
    low = np.floor(projected[:, :2].min(0) - 0.5).astype(int)
    high = np.ceil(projected[:, :2].max(0) + 0.5).astype(int)
    left, top = np.maximum(low, 0)
    right, bottom = np.minimum(high, (camera.width, camera.height))
    if left >= right or top >= bottom:
        return None
    return slice(top, bottom), slice(left, right)


def _cast_one(
    index: int,
    primitive: Primitive,
    camera: Camera,
    frame: int,
    window: tuple[slice, slice],
    buffer: GBuffer,
) -> None:
    offset = primitive.corner_at(frame) - camera.position
    directions = buffer.directions[window]
    along = directions @ primitive.normal
    depth = (offset @ primitive.normal) / np.where(np.abs(along) < 1e-9, 1e-9, along)
    width, height = primitive.size
    points = depth[..., None] * directions - offset
    s = points @ (primitive.right / width)
    r = points @ (primitive.down / height)
    seen = (depth > NEAR) & (depth < buffer.depth[window])
    seen &= (s >= 0) & (s < width) & (r >= 0) & (r < height)
    if primitive.mask is not None:
        seen[seen] = sample_mask(primitive, s[seen], r[seen]) > 0
    for target, values in ((buffer.depth, depth), (buffer.s, s), (buffer.r, r)):
        target[window][seen] = values[seen]
    buffer.primitive[window][seen] = index


def sample_mask(primitive: Primitive, s: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Part ids at surface coordinates in metres; 1 everywhere on a solid primitive."""
    if primitive.mask is None:
        return np.ones(s.shape, np.uint8)
    rows, columns = primitive.mask.shape
    width, height = primitive.size
    column = np.minimum((s / width * columns).astype(int), columns - 1)
    row = np.minimum((r / height * rows).astype(int), rows - 1)
    return primitive.mask[row, column]
