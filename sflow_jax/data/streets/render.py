"""From a G-buffer to pictures: the CG frame and the photo-like one."""

import cv2
import numpy as np

from sflow_jax.data.streets.geometry import SKY, Camera, GBuffer, normals, sample_mask
from sflow_jax.data.streets.lighting import GroundShadows, Light, building_shadow
from sflow_jax.data.streets.materials import Surface, shade
from sflow_jax.data.streets.noise import smooth_noise
from sflow_jax.data.streets.scene import StreetScene

_CG_SKY = np.array([0.50, 0.70, 0.92])
_CG_TO_SUN = np.array([0.35, -0.80, -0.48])
_CONTACT_SHADOW = 0.55  # how much light reaches the road under a vehicle


def render(
    scene: StreetScene, buffer: GBuffer, camera: Camera, frame: int
) -> tuple[np.ndarray, np.ndarray]:
    """Colors a G-buffer.

    Returns:
        The photo-like image without sensor noise, and the CG image; RGB [H, W, 3] around [0, 1].
    """
    structure = np.zeros((*buffer.depth.shape, 3))
    texture = np.ones(buffer.depth.shape)
    cosine_sun, cosine_cg = np.zeros(buffer.depth.shape), np.zeros(buffer.depth.shape)
    points = camera.position + buffer.depth[..., None] * buffer.directions
    normal = normals(scene.primitives, camera, frame)
    for index, pixels in _pixels_by_primitive(buffer.primitive):
        primitive = scene.primitives[index]
        surface = Surface(
            s=buffer.s.flat[pixels],
            r=buffer.r.flat[pixels],
            size=primitive.size,
            part=sample_mask(primitive, buffer.s.flat[pixels], buffer.r.flat[pixels]),
            points=points.reshape(-1, 3)[pixels] - frame * primitive.velocity,
            footprint=buffer.depth.flat[pixels] / camera.focal_length,
        )
        structure.reshape(-1, 3)[pixels], texture.flat[pixels] = shade(primitive.material, surface)
        is_card = primitive.mask is not None
        for cosine, to_sun in ((cosine_sun, scene.light.to_sun), (cosine_cg, _CG_TO_SUN)):
            cosine.flat[pixels] = 0.6 if is_card else max(0.0, float(normal[index] @ to_sun))

    is_sky = buffer.primitive == SKY
    light = scene.light
    lit = cosine_sun * _sunlight(scene, buffer, points, camera, frame) if light.sun else 0.0
    brightness = (light.ambient + lit) * _contact_shadows(scene, buffer, points, frame)
    photo = structure * (texture * brightness)[..., None]
    air = np.exp(-light.haze * buffer.depth)[..., None]
    photo = photo * air + light.sky[1] * (1 - air)
    photo[is_sky] = _sky(buffer.directions[is_sky], scene)
    cg = structure * (0.62 + 0.45 * cosine_cg)[..., None]
    cg[is_sky] = _CG_SKY
    return photo * light.gain, cg


def expose(photo: np.ndarray, light: Light, rng: np.random.Generator) -> np.ndarray:
    """What the sensor makes of the light: highlights compressed, vignetting, noise; uint8."""
    height, width = photo.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width]
    radius = np.hypot(columns / width - 0.5, (rows / height - 0.5) / 2)
    photo = 1.25 * photo / (1 + 0.25 * photo**2) * (1 - 0.35 * radius**2)[..., None]
    grain = rng.normal(0, light.noise, photo.shape)
    return quantize(photo + grain * np.sqrt(np.clip(photo, 0.1, 1)))


def quantize(image: np.ndarray) -> np.ndarray:
    """[0, 1] to 0..255, clipped."""
    return np.clip(np.rint(image * 255), 0, 255).astype(np.uint8)


def halve(image: np.ndarray) -> np.ndarray:
    """Averages 2x2 blocks: the anti-aliasing of both pictures."""
    height, width = image.shape[:2]
    return cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)


def _pixels_by_primitive(primitive: np.ndarray) -> list[tuple[int, np.ndarray]]:
    order = np.argsort(primitive, axis=None, kind="stable")
    indices, starts = np.unique(primitive.flat[order], return_index=True)
    groups = np.split(order, starts[1:])
    return [
        (int(index), pixels) for index, pixels in zip(indices, groups, strict=True) if index != SKY
    ]


def _sunlight(
    scene: StreetScene, buffer: GBuffer, points: np.ndarray, camera: Camera, frame: int
) -> np.ndarray:
    """Direct light [H, W] on surfaces that face the sun."""
    sun = scene.light.sun * ~building_shadow(points, scene.rows, scene.light)
    on_ground = (points[..., 1] > -0.2) & (buffer.primitive != SKY)
    shadows = GroundShadows(scene.primitives, scene.light, camera.position[2], frame)
    sun[on_ground] *= 1 - shadows.at(points[on_ground])
    return sun


def _contact_shadows(
    scene: StreetScene, buffer: GBuffer, points: np.ndarray, frame: int
) -> np.ndarray:
    """Darkens the ground under and beside boxes, whose tops are the horizontal primitives."""
    shade_factor = np.ones(buffer.depth.shape)
    near_ground = (points[..., 1] > -0.3) & (buffer.primitive != SKY)
    x, z = points[near_ground][:, 0], points[near_ground][:, 2]
    factor = np.ones(len(x))
    for primitive in scene.primitives:
        corner = primitive.corner_at(frame)
        is_top = primitive.right[1] == 0 and primitive.down[1] == 0 and corner[1] < -0.5
        if not is_top or corner[2] > 70:
            continue
        left, near = corner[0], corner[2]
        outside_x = np.maximum(left - x, x - left - primitive.right[0])
        outside_z = np.maximum(near - z, z - near - primitive.down[2])
        distance = np.clip(np.maximum(outside_x, outside_z) + 0.1, 0, 0.6) / 0.6
        factor = np.minimum(factor, _CONTACT_SHADOW + (1 - _CONTACT_SHADOW) * distance)
    shade_factor[near_ground] = factor
    return shade_factor


def _sky(directions: np.ndarray, scene: StreetScene) -> np.ndarray:
    """A gradient with clouds, fixed in the world's directions."""
    unit = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    up = np.clip(-unit[:, 1], 0, 1)[:, None]
    zenith, horizon = scene.light.sky
    sky = horizon + (zenith - horizon) * np.sqrt(up)
    x, y = unit[:, 0] / (0.25 + up[:, 0]), unit[:, 2] / (0.25 + up[:, 0])
    seed = scene.seed
    cover = 0.6 * smooth_noise(2 * x, 2 * y, seed) + 0.4 * smooth_noise(5 * x, 5 * y, seed + 1)
    cloud = np.clip((cover - 1 + scene.light.clouds) * 3, 0, 1)[:, None]
    return sky + cloud * (np.array([0.95, 0.95, 0.96]) - sky) * 0.8
