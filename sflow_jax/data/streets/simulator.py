"""Drives through a random street and records it: pictures, labels, depth and exact motion."""

import numpy as np

from sflow_jax.data.streets.geometry import SKY, Camera, GBuffer, cast
from sflow_jax.data.streets.objects import ID
from sflow_jax.data.streets.render import expose, halve, render, to_uint8
from sflow_jax.data.streets.scene import Scene, sample_scene

_FARTHEST_MOTION = 10_000  # pixels, where a point passes the plane of the camera

VERSION = 2  # raise it when frames change, so that prepared datasets are made afresh


def render_clip(seed: int, *, num_frames: int, height: int, width: int) -> dict[str, np.ndarray]:
    """Renders consecutive frames of one street.

    Args:
        seed: of the street; the same seed gives the same clip.
        num_frames: T.
        height: H, pixels.
        width: W, pixels.

    Returns:
        - `image`, uint8 RGB [T, H, W, 3]: the photo-like frames,
        - `cg`, uint8 RGB [T, H, W, 3]: the same scene as a simulator draws it,
        - `label`, uint8 [T, H, W, 1]: ids of the class table `labels.STREETS`,
        - `instance`, uint16 [T, H, W, 1]: class * 1000 + k for things, the class id for stuff,
        - `depth`, float32 [T, H, W, 1]: metres along the camera's axis, 1000 for the sky,
        - `exact_flow`, float32 [T - 1, H, W, 2]: motion to the next frame in pixels, x first,
        - `occlusion`, bool [T - 1, H, W, 1]: what is hidden or outside in the next frame.
    """
    scene = sample_scene(seed)
    cameras = [_camera(scene, frame, height, width) for frame in range(num_frames)]
    buffers = [cast(scene.primitives, camera, t) for t, camera in enumerate(cameras)]
    pictures = [_pictures(scene, frame, height, width) for frame in range(num_frames)]
    clip = {
        "image": np.stack([image for image, _ in pictures]),
        "cg": np.stack([cg for _, cg in pictures]),
        "label": np.stack([_ids(scene, buffer, "label") for buffer in buffers]).astype(np.uint8),
        "instance": np.stack([_ids(scene, buffer, "instance") for buffer in buffers]),
        "depth": np.stack([buffer.depth[..., None] for buffer in buffers]).astype(np.float32),
    }
    motions = [_motion(scene, buffers, cameras, frame) for frame in range(num_frames - 1)]
    flows = [flow for flow, _ in motions] or [np.zeros((0, height, width, 2))]
    hidden = [occlusion for _, occlusion in motions] or [np.zeros((0, height, width, 1), bool)]
    join = np.stack if motions else np.concatenate
    return clip | {"exact_flow": join(flows).astype(np.float32), "occlusion": join(hidden)}


def _camera(scene: Scene, frame: int, height: int, width: int) -> Camera:
    return Camera(*scene.drive.pose(frame), width, height)


def _pictures(scene: Scene, frame: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    camera = _camera(scene, frame, 2 * height, 2 * width)
    photo, cg = render(scene, cast(scene.primitives, camera, frame), camera, frame)
    rng = np.random.default_rng((scene.seed, frame, 1))  # the noise of each frame is its own
    return expose(halve(photo), scene.light, rng), to_uint8(halve(cg))


def _ids(scene: Scene, buffer: GBuffer, attribute: str) -> np.ndarray:
    ids = [getattr(primitive, attribute) for primitive in scene.primitives]
    ids.append(ID["sky"])  # index -1, `geometry.SKY`
    return np.array(ids, np.uint16)[buffer.primitive][..., None]


def _motion(
    scene: Scene, buffers: list[GBuffer], cameras: list[Camera], frame: int
) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel's point of the scene is in the next frame, and whether it is seen there."""
    buffer, camera, following = buffers[frame], cameras[frame], cameras[frame + 1]
    velocities = np.array([p.velocity for p in scene.primitives] + [np.zeros(3)])
    points = camera.position + buffer.depth[..., None] * buffer.directions
    projected = following.project(points + velocities[buffer.primitive])
    is_sky = buffer.primitive == SKY
    projected[is_sky] = following.project(buffer.directions[is_sky], at_infinity=True)
    rows, columns = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    flow = projected[..., :2] - np.stack([columns, rows], -1)
    flow = np.clip(flow, -_FARTHEST_MOTION, _FARTHEST_MOTION)

    column, row = np.floor(projected[..., 0]), np.floor(projected[..., 1])
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    inside &= projected[..., 2] > 0
    column, row = (np.where(inside, index, 0).astype(int) for index in (column, row))
    seen = inside & (buffers[frame + 1].primitive[row, column] == buffer.primitive)
    return flow, ~seen[..., None]
