"""Cars, trucks, buses and trains: a body on wheels under a tapered cabin."""

import dataclasses
import functools

import numpy as np

from sflow_jax.data.streets.geometry import Primitive
from sflow_jax.data.streets.materials import Material
from sflow_jax.data.streets.objects import ID, PAINTS, InstanceCounter, draw_seed, pick

_TAIL_LIGHT, _HEAD_LIGHT = (0.75, 0.05, 0.04), (0.98, 0.97, 0.85)


@dataclasses.dataclass(frozen=True)
class _Model:
    """Measures of a kind of vehicle, meters.

    Attributes:
        body: width, height and length of the lower body.
        cabin: height and length of the cabin on it.
        offset: of the cabin's middle to the back.
        slopes: by how much the cabin narrows to its top at each side, at the front and the back.
        wheel: radius of the wheels.
        panes: windows of a side.
        sill: share of the cabin's height down to which its windows reach; negative: no windows.
    """

    body: tuple[float, float, float]
    cabin: tuple[float, float]
    offset: float
    slopes: tuple[float, float, float]
    wheel: float
    panes: int
    sill: float


_MODELS = {
    "sedan": _Model((1.8, 0.88, 4.6), (0.55, 2.9), 0.25, (0.17, 0.8, 0.6), 0.33, 2, 0.94),
    "hatchback": _Model((1.75, 0.9, 4.0), (0.58, 2.7), 0.55, (0.16, 0.75, 0.3), 0.32, 2, 0.94),
    "van": _Model((1.95, 1.0, 5.0), (1.0, 4.3), 0.3, (0.12, 0.7, 0.1), 0.36, 3, 0.7),
    "truck": _Model((2.4, 1.3, 8.0), (2.0, 7.4), 0.3, (0.03, 0.1, 0.0), 0.48, 1, -1.0),
    "bus": _Model((2.5, 1.2, 11.0), (1.9, 10.9), 0.0, (0.05, 0.2, 0.1), 0.5, 7, 0.7),
    "train": _Model((2.5, 1.1, 22.0), (2.2, 21.8), 0.0, (0.12, 0.5, 0.5), 0.4, 12, 0.7),
}
_CARS = ("sedan", "hatchback", "van")


def vehicle(
    rng: np.random.Generator,
    counter: InstanceCounter,
    name: str,
    x: float,
    z: float,
    oncoming: bool,
    velocity: float,
) -> list[Primitive]:
    """A car, truck, bus or train.

    Args:
        rng: random generator.
        counter: gives the instance id.
        name: its class.
        x: of its middle, meters.
        z: of its near end, meters.
        oncoming: whether it shows its front.
        velocity: along z, meters per frame.
    """
    model = _MODELS[str(rng.choice(_CARS, p=(0.45, 0.4, 0.15))) if name == "car" else name]
    scale = rng.uniform(0.95, 1.06)
    width, height, length = (scale * value for value in model.body)
    cabin_height, cabin_length = (scale * value for value in model.cabin)
    side, front, back = (scale * value for value in model.slopes)
    paint, seed = pick(rng, PAINTS), draw_seed(rng)
    thing = (name, counter.next(name), velocity)
    middle = z + length / 2
    to_back = (1 if oncoming else -1) * model.offset * scale
    slopes = (side, front, back) if oncoming else (side, back, front)
    lower = _solid(
        (x, middle), (width, height, length), 0.0, (0.0, 0.0, 0.0),
        _body_materials(paint, seed, oncoming, scale * model.wheel), thing,
        _wheel_mask(*model.body[1:], model.wheel),
    )  # fmt: skip
    upper = _solid(
        (x, middle + to_back), (0.98 * width, cabin_height, cabin_length), height, slopes,
        _cabin_materials(paint, seed, model, name, oncoming), thing,
    )  # fmt: skip
    return lower + upper


def _body_materials(
    paint: np.ndarray, seed: int, oncoming: bool, wheel: float
) -> dict[str, Material]:
    lights = _HEAD_LIGHT if oncoming else _TAIL_LIGHT
    return {
        "side": Material("body_side", paint[None], seed, {"wheel": wheel}),
        "end": Material("body_end", np.array([paint, lights]), seed),
        "top": Material("plain", paint[None] * 1.05, seed),
    }


def _cabin_materials(
    paint: np.ndarray, seed: int, model: _Model, name: str, oncoming: bool
) -> dict[str, Material]:
    # A truck's box has no windows, but its driver has one.
    end_sill = 0.6 if name == "truck" and oncoming else 0.9 * model.sill
    return {
        "side": Material("cabin", paint[None], seed, {"panes": model.panes, "sill": model.sill}),
        "end": Material("cabin", paint[None], seed, {"panes": 1, "sill": end_sill}),
        "top": Material("plain", paint[None], seed),
    }


def _solid(
    center: tuple[float, float],
    size: tuple[float, float, float],
    base: float,
    slopes: tuple[float, float, float],
    faces: dict[str, Material],
    thing: tuple[str, int, float],
    side_mask: np.ndarray | None = None,
) -> list[Primitive]:
    """A box along the street that narrows to its top.

    Args:
        center: x and z of its middle, meters.
        size: width, height and length at its foot, meters.
        base: height of its foot over the road, meters.
        slopes: meters by which the top is narrower at each side, at its near and its far end.
        faces: materials of `side`, `end` and `top`.
        thing: class, instance id and velocity along z in meters per frame.
        side_mask: mask of the sides where they do not narrow.
    """
    (x, z), (width, height, length), (side, near, far) = center, size, slopes
    start, end, top = z - length / 2, z + length / 2, -base - height
    edge = width / 2 - side  # half the width of the top
    across, along = np.array([width, 0.0, 0.0]), np.array([0.0, 0.0, length])
    ends, sides = (side / width, side / width), (near / length, far / length)
    planes = [
        ("side", (x - edge, top, start), along, (-side, height, 0.0), sides),
        ("side", (x + edge, top, start), along, (side, height, 0.0), sides),
        ("end", (x - width / 2, top, start + near), across, (0.0, height, -near), ends),
        ("end", (x - width / 2, top, end - far), across, (0.0, height, far), ends),
        ("top", (x - edge, top, start + near), across * 2 * edge / width,
         (0.0, 0.0, length - near - far), (0.0, 0.0)),
    ]  # fmt: skip
    return [
        _face(corner, right, down, _narrowed(faces[face], tapers), thing,
              side_mask if face == "side" and side_mask is not None else _trapezoid(*tapers))
        for face, corner, right, down, tapers in planes
    ]  # fmt: skip


def _face(
    corner: tuple[float, float, float],
    right: np.ndarray,
    down: tuple[float, float, float],
    material: Material,
    thing: tuple[str, int, float],
    mask: np.ndarray | None,
) -> Primitive:
    name, instance, velocity = thing
    return Primitive(
        np.array(corner), right, np.array(down), ID[name], instance, material, mask,
        velocity=np.array([0.0, 0.0, velocity]), casts_shadow=True,
    )  # fmt: skip


def _narrowed(material: Material, tapers: tuple[float, float]) -> Material:
    left, right = tapers
    options = {**material.options, "left": left, "right": right}
    return dataclasses.replace(material, options=options)


@functools.cache
def _trapezoid(left: float, right: float) -> np.ndarray | None:
    """The mask of a face that is narrower at its top, by these shares of its width; 128x128."""
    if left == right == 0:
        return None
    share = (np.arange(128) + 0.5) / 128
    from_top = 1 - share[:, None]
    inside = (share >= left * from_top) & (share <= 1 - right * from_top)
    return inside.astype(np.uint8)


@functools.cache
def _wheel_mask(height: float, length: float, wheel: float) -> np.ndarray:
    """The body above the sills, and the wheels below them."""
    r, s = ((np.indices((64, 192)).T + 0.5) / (64, 192) * (height, length)).T
    distance = np.minimum(
        np.hypot(s - 0.19 * length, r - (height - wheel)),
        np.hypot(s - 0.79 * length, r - (height - wheel)),
    )
    return ((r < height - 0.55 * wheel) | (distance < wheel)).astype(np.uint8)
