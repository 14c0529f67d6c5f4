"""Sun, sky, and the shadows that buildings and things cast."""

import dataclasses

import cv2
import numpy as np

from sflow_jax.data.streets.frontage import Row
from sflow_jax.data.streets.geometry import Primitive

_MAP_CELL = 0.08  # meters; of the map of shadows on the ground
_MAP_HALF_WIDTH, _MAP_LENGTH = 12.0, 60.0  # meters


@dataclasses.dataclass(frozen=True)
class Light:
    """Sun, sky and camera response of one clip.

    Attributes:
        to_sun: [3], unit vector.
        sun: brightness of direct light; 0 under an overcast sky.
        ambient: brightness of the sky's light.
        sky: RGB at the zenith and at the horizon, [2, 3].
        clouds: cover, 0 to 1.
        haze: share of light lost per meter.
        gain: RGB, exposure times white balance.
        noise: standard deviation of the sensor noise.
    """

    to_sun: np.ndarray
    sun: float
    ambient: float
    sky: np.ndarray
    clouds: float
    haze: float
    gain: np.ndarray
    noise: float


def sample_light(rng: np.random.Generator) -> Light:
    """Draws time of day, weather and camera response."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(25, 60))
    level = np.cos(elevation)
    to_sun = np.array([level * np.sin(azimuth), -np.sin(elevation), level * np.cos(azimuth)])
    overcast = rng.random() < 0.35
    warmth = rng.normal(0, 0.04)
    clear = np.array([[0.38, 0.58, 0.88], [0.80, 0.88, 0.95]])
    gray = np.array([[0.72, 0.75, 0.79], [0.88, 0.89, 0.90]])
    return Light(
        to_sun=to_sun,
        sun=0.0 if overcast else rng.uniform(0.5, 0.75),
        ambient=rng.uniform(0.75, 0.95) if overcast else rng.uniform(0.5, 0.62),
        sky=gray if overcast else clear,
        clouds=rng.uniform(0.2, 0.9),
        haze=rng.uniform(0.001, 0.006),
        gain=rng.uniform(0.88, 1.12) * np.array([1 + warmth, 1.0, 1 - warmth]),
        noise=rng.uniform(0.003, 0.01),
    )


def building_shadow(points: np.ndarray, rows: tuple[Row, Row], light: Light) -> np.ndarray:
    """Whether a building stands between points [H, W, 3] and the sun: bool [H, W]."""
    row = rows[0] if light.to_sun[0] < 0 else rows[1]
    along = (row.x - points[..., 0]) / light.to_sun[0]  # meters to the plane of the facades
    z = points[..., 2] + along * light.to_sun[2]
    height = -points[..., 1] - along * light.to_sun[1]
    building = np.clip(np.searchsorted(row.starts, z) - 1, 0, len(row.starts) - 1)
    return (along > 0.01) & (height < row.heights[building])


class GroundShadows:
    """The shadows of things on the ground before the camera, as a map seen from above."""

    def __init__(self, primitives: list[Primitive], light: Light, camera_z: float, frame: int):
        """Draws the map.

        A sun ray takes the point p to p - to_sun p.y / to_sun.y on the ground, which is linear in
        p: the shadow of a rectangle is a parallelogram, and its mask is warped by an affine map.

        Args:
            primitives: of the scene; those of the ground cast nothing.
            light: with a sun.
            camera_z: of the camera, meters; the map begins some meters behind it.
            frame: when.
        """
        self._start = np.array([-_MAP_HALF_WIDTH, camera_z - 4.0])
        shape = (round(_MAP_LENGTH / _MAP_CELL), round(2 * _MAP_HALF_WIDTH / _MAP_CELL))
        self._shade: np.ndarray = np.zeros(shape, np.uint8)
        drop = np.array([[1, 0], [-light.to_sun[0], -light.to_sun[2]] / light.to_sun[1], [0, 1]])
        for primitive in primitives:
            corner = primitive.corner_at(frame)
            if primitive.casts_shadow and abs(corner[2] - camera_z) < _MAP_LENGTH:
                right = primitive.right
                if primitive.mask is not None and right[2] == 0:
                    right = _facing(light, primitive)
                    corner = corner + (primitive.right - right) / 2
                self._draw(np.array([corner, right, primitive.down]) @ drop, primitive.mask)
        self._shade = cv2.GaussianBlur(self._shade, (0, 0), 1.5)

    def _draw(self, rectangle: np.ndarray, mask: np.ndarray | None) -> None:
        """Adds the shadow of a rectangle: its corner, right and down side on the ground, [3, 2]."""
        corner, right, down = rectangle
        outline = np.array([corner, corner + right, corner + right + down, corner + down])
        outline = (outline - self._start) / _MAP_CELL
        rows, columns = self._shade.shape
        low = np.clip(np.floor(outline.min(0)).astype(int), 0, (columns, rows))
        high = np.clip(np.ceil(outline.max(0)).astype(int) + 1, 0, (columns, rows))
        if (low >= high).any():
            return
        window = self._shade[low[1] : high[1], low[0] : high[0]]
        outline -= low
        if mask is None:
            cv2.fillConvexPoly(window, np.round(outline * 16).astype(np.int32), 255, shift=4)
            return
        height, width = mask.shape
        source = np.array([[0, 0], [width, 0], [0, height]], np.float32)
        warp = cv2.getAffineTransform(source, outline[[0, 1, 3]].astype(np.float32))
        size = tuple(int(side) for side in high - low)
        np.maximum(window, cv2.warpAffine(np.minimum(mask, 1) * 255, warp, size), out=window)

    def at(self, points: np.ndarray) -> np.ndarray:
        """How deep points [N, 3] of the ground lie in shadow: 0 to 1, [N]."""
        column, row = ((points[:, [0, 2]] - self._start) / _MAP_CELL - 0.5).T
        rows, columns = self._shade.shape
        inside = (column >= 0) & (column < columns - 1) & (row >= 0) & (row < rows - 1)
        column, row = np.where(inside, column, 0), np.where(inside, row, 0)
        i, j = row.astype(int), column.astype(int)
        u, v = column - j, row - i
        upper = (1 - u) * self._shade[i, j] + u * self._shade[i, j + 1]
        lower = (1 - u) * self._shade[i + 1, j] + u * self._shade[i + 1, j + 1]
        return inside * ((1 - v) * upper + v * lower) / 255


def _facing(light: Light, primitive: Primitive) -> np.ndarray:
    """The right side of a card turned to the sun: a tree has no direction from which it is flat."""
    across = np.array([light.to_sun[2], 0.0, -light.to_sun[0]])
    return primitive.size[0] * across / np.linalg.norm(across)
