"""Drives through a random street and records it: pictures, labels, depth and exact motion."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sflow_jax.data.streets.geometry import SKY, Camera, GBuffer, cast
from sflow_jax.data.streets.objects import ID
from sflow_jax.data.streets.render import expose, halve, quantize, render
from sflow_jax.data.streets.scene import StreetScene, sample_scene
from sflow_jax.errors import InputError
from sflow_jax.machine import GIB, memory_bytes, num_cores

_FARTHEST_MOTION = 10_000  # pixels, where a point passes the plane of the camera

_BYTES_PER_PIXEL = 1000  # while a pair is rendered, by tracemalloc: 1,030 at 512x256
_OF_EACH_FRAME = ("image", "cg", "label", "instance", "depth")

# At most this many frames before a street ends: at the highest speed, 40 m of it are left then.
LONGEST_DRIVE = 120
VERSION = 4  # raise it when frames change, so that prepared datasets are made afresh


class _View(NamedTuple):
    """What a camera sees."""

    camera: Camera
    buffer: GBuffer


def check_memory(option: str, height: int, width: int) -> None:
    """Checks that all cores of this machine can render frames of a size at once.

    Args:
        option: what names the size, for the message.
        height: H, pixels.
        width: W, pixels.

    Raises:
        InputError: they need more memory than there is.
    """
    needed, available = _BYTES_PER_PIXEL * height * width * num_cores(), memory_bytes()
    if needed > available:
        raise InputError(
            f"{option}: found {height:,} and {width:,}, which take {needed / GIB:,.0f} GiB to "
            f"render, expected a size for the {available / GIB:,.0f} GiB of this machine"
        )


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
        - `depth`, float32 [T, H, W, 1]: meters along the camera's axis, 1000 for the sky,
        - `exact_flow`, float32 [T - 1, H, W, 2]: motion to the next frame in pixels, x first,
        - `occlusion`, bool [T - 1, H, W, 1]: what is hidden or outside in the next frame.
    """
    frames = list(render_frames(seed, num_frames=num_frames, height=height, width=width))
    clip = {key: np.stack([frame[key] for frame in frames]) for key in _OF_EACH_FRAME}
    motions = frames[:-1]  # none of a single frame
    flow = [frame["exact_flow"] for frame in motions]
    occlusion = [frame["occlusion"] for frame in motions]
    return clip | {
        "exact_flow": np.array(flow, np.float32).reshape(-1, height, width, 2),
        "occlusion": np.array(occlusion, bool).reshape(-1, height, width, 1),
    }


def render_frames(
    seed: int, *, num_frames: int, height: int, width: int
) -> Iterator[dict[str, np.ndarray]]:
    """Renders the frames of `render_clip` one by one, in memory that does not grow with them.

    Yields:
        What `render_clip` returns, of one frame and without the axis T. The last frame has neither
        `exact_flow` nor `occlusion`.
    """
    scene = sample_scene(seed)
    views = (_view(scene, frame, height, width) for frame in range(num_frames))
    for frame, (view, following) in enumerate(itertools.pairwise(itertools.chain(views, [None]))):
        assert view  # only the last one that follows is None
        image, cg = _pictures(scene, frame, height, width)
        arrays = {
            "image": image,
            "cg": cg,
            "label": _ids(scene, view.buffer, "label").astype(np.uint8),
            "instance": _ids(scene, view.buffer, "instance"),
            "depth": view.buffer.depth[..., None].astype(np.float32),
        }
        if following:
            flow, occlusion = _motion(scene, view, following)
            arrays |= {"exact_flow": flow.astype(np.float32), "occlusion": occlusion}
        yield arrays


def _camera(scene: StreetScene, frame: int, height: int, width: int) -> Camera:
    drive = scene.drive
    return Camera(*drive.pose(frame), width, height, drive.lens, drive.horizon)


def _view(scene: StreetScene, frame: int, height: int, width: int) -> _View:
    camera = _camera(scene, frame, height, width)
    return _View(camera, cast(scene.primitives, camera, frame))


def _pictures(
    scene: StreetScene, frame: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    camera, buffer = _view(scene, frame, 2 * height, 2 * width)
    photo, cg = render(scene, buffer, camera, frame)
    rng = np.random.default_rng((scene.seed, frame, 1))  # the noise of each frame is its own
    return expose(halve(photo), scene.light, rng), quantize(halve(cg))


def _ids(scene: StreetScene, buffer: GBuffer, attribute: str) -> np.ndarray:
    ids = [getattr(primitive, attribute) for primitive in scene.primitives]
    ids.append(ID["sky"])  # index -1, `geometry.SKY`
    return np.array(ids, np.uint16)[buffer.primitive][..., None]


def _motion(scene: StreetScene, view: _View, next_view: _View) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel's point of the scene is in the next frame, and whether it is hidden."""
    (camera, buffer), following = view, next_view.camera
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
    seen = inside & (next_view.buffer.primitive[row, column] == buffer.primitive)
    return flow, ~seen[..., None]
