"""The things that stand, walk and drive in a street, as primitives."""

import itertools

import numpy as np

from sflow_jax.data.labels import STREETS
from sflow_jax.data.streets import silhouettes
from sflow_jax.data.streets.geometry import Primitive
from sflow_jax.data.streets.materials import Material

ID = {label_class.name: label_class.id for label_class in STREETS.classes}

_SKIN = [(0.87, 0.68, 0.56), (0.75, 0.55, 0.42), (0.5, 0.35, 0.26)]
_HAIR = [(0.12, 0.09, 0.08), (0.35, 0.22, 0.12), (0.7, 0.58, 0.35)]
_CAR_PAINTS = [
    (0.80, 0.81, 0.82),
    (0.10, 0.10, 0.12),
    (0.45, 0.47, 0.50),
    (0.62, 0.10, 0.10),
    (0.12, 0.22, 0.50),
    (0.16, 0.30, 0.22),
    (0.75, 0.55, 0.12),
    (0.92, 0.92, 0.92),
]
_TAIL_LIGHT, _HEAD_LIGHT = (0.75, 0.05, 0.04), (0.98, 0.97, 0.85)


class InstanceCounter:
    """Instance ids as in Cityscapes: class * 1000 + k for things."""

    def __init__(self) -> None:
        self._counts = {name: itertools.count() for name in ID}

    def next(self, name: str) -> int:
        """The id of one more instance of a class."""
        return ID[name] * 1000 + next(self._counts[name])


def _pick(rng: np.random.Generator, choices: list, spread: float = 0.04) -> np.ndarray:
    color = np.array(choices[rng.integers(len(choices))])
    return np.clip(color + rng.normal(0, spread, 3), 0.02, 1)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1 << 12))


def card(
    x: float,
    z: float,
    width: float,
    height: float,
    base: float,
    name: str,
    instance: int,
    material: Material,
    mask: np.ndarray | None = None,
    velocity: tuple[float, float] = (0.0, 0.0),
) -> Primitive:
    """An upright rectangle facing the camera; `base` is its lower edge's height in metres."""
    return Primitive(
        corner=np.array([x - width / 2, -base - height, z]),
        right=np.array([width, 0.0, 0.0]),
        down=np.array([0.0, height, 0.0]),
        label=ID[name],
        instance=instance,
        material=material,
        mask=mask,
        velocity=np.array([velocity[0], 0.0, velocity[1]]),
    )


def box(
    centre: tuple[float, float],
    size: tuple[float, float, float],
    base: float,
    faces: dict[str, Material],
    name: str,
    instance: int,
    velocity: float = 0.0,
    side_mask: np.ndarray | None = None,
) -> list[Primitive]:
    """A box along the street.

    Args:
        centre: x and z of its middle, metres.
        size: width, height and length, metres.
        base: height of its lower faces over the road, metres.
        faces: materials of `side`, `end` (towards the camera) and `top`.
        name: class.
        instance: instance id.
        velocity: along z, metres per frame.
        side_mask: mask of the sides.
    """
    (x, z), (width, height, length) = centre, size
    left, near, top = x - width / 2, z - length / 2, -base - height
    across, along, down = (
        np.array([width, 0.0, 0.0]),
        np.array([0.0, 0.0, length]),
        np.array([0.0, height, 0.0]),
    )
    planes = [
        ("side", (left, top, near), along, down, side_mask),
        ("side", (left + width, top, near), along, down, side_mask),
        ("end", (left, top, near), across, down, None),
        ("end", (left, top, near + length), across, down, None),
        ("top", (left, top, near), across, along, None),
    ]
    return [
        Primitive(
            np.array(corner),
            right,
            below,
            ID[name],
            instance,
            faces[face],
            mask,
            np.array([0.0, 0.0, velocity]),
        )
        for face, corner, right, below, mask in planes
    ]


def _wheel_mask(length: float, height: float, wheel: float) -> np.ndarray:
    """The body above the sills, and the wheels below them."""
    rows, columns = np.mgrid[0:48, 0:144]
    r, s = (rows + 0.5) / 48 * height, (columns + 0.5) / 144 * length
    wheels = np.minimum(
        np.hypot(s - 0.19 * length, r - (height - wheel)),
        np.hypot(s - 0.79 * length, r - (height - wheel)),
    )
    return ((r < height - 0.55 * wheel) | (wheels < wheel)).astype(np.uint8)


# Lower body's width, height and length; cabin's height, length and offset to the back; radius of
# the wheels; panes of a side. In metres.
_VEHICLES = {
    "car": ((1.8, 0.92, 4.3), (0.56, 2.3, -0.1), 0.33, 2),
    "truck": ((2.4, 1.3, 8.0), (2.0, 7.4, -0.3), 0.48, 1),
    "bus": ((2.5, 1.2, 11.0), (1.9, 10.9, 0.0), 0.5, 7),
    "train": ((2.5, 1.1, 22.0), (2.2, 21.8, 0.0), 0.4, 12),
}


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
        x: of its middle, metres.
        z: of its near end, metres.
        oncoming: whether it shows its front.
        velocity: along z, metres per frame.
    """
    body, (cabin_height, cabin_length, offset), wheel, panes = _VEHICLES[name]
    scale = rng.uniform(0.93, 1.08)
    width, height, length = (scale * value for value in body)
    paint = _pick(rng, _CAR_PAINTS)
    seed, instance = _seed(rng), counter.next(name)
    z += length / 2
    lights = _HEAD_LIGHT if oncoming else _TAIL_LIGHT
    mask = _wheel_mask(length, height, wheel * scale)
    lower = {
        "side": Material("body_side", paint[None], seed, {"wheel": wheel * scale}),
        "end": Material("body_end", np.array([paint, lights]), seed),
        "top": Material("plain", paint[None] * 1.05, seed),
    }
    sill = {"car": 0.95, "truck": -1.0}.get(name, 0.7)  # a truck's box has no windows,
    end_sill = 0.6 if name == "truck" and oncoming else 0.9 * sill  # but its driver has one
    upper = {
        "side": Material("cabin", paint[None], seed, {"panes": panes, "sill": sill}),
        "end": Material("cabin", paint[None], seed, {"panes": 1, "sill": end_sill}),
        "top": Material("plain", paint[None], seed),
    }
    sign = 1 if oncoming else -1
    cabin_centre = (x, z - sign * offset * scale)
    cabin_size = (width * (0.84 if name == "car" else 0.97), cabin_height, cabin_length * scale)
    return [
        *box((x, z), (width, height, length), 0.0, lower, name, instance, velocity, mask),
        *box(cabin_centre, cabin_size, height, upper, name, instance, velocity),
    ]


def person(
    rng: np.random.Generator, counter: InstanceCounter, x: float, z: float, base: float
) -> list[Primitive]:
    """Someone standing or walking along or across."""
    height = rng.uniform(1.5, 1.9)
    velocity = (rng.normal(0, 0.03), rng.normal(0, 0.05))
    mask = silhouettes.person(rng)
    material = Material("cloth", _clothes(rng), _seed(rng))
    instance = counter.next("person")
    return [card(x, z, height / 2, height, base, "person", instance, material, mask, velocity)]


def cyclist(
    rng: np.random.Generator,
    counter: InstanceCounter,
    x: float,
    z: float,
    two_wheeler: str,
    ridden: bool,
) -> list[Primitive]:
    """A bicycle or motorcycle, with its rider or parked."""
    velocity = (rng.normal(0, 0.02), rng.uniform(0.1, 0.35)) if ridden else (0.0, 0.0)
    draw = silhouettes.bicycle if two_wheeler == "bicycle" else silhouettes.motorcycle
    length = 1.75 if two_wheeler == "bicycle" else 2.1
    frame = _pick(rng, _CAR_PAINTS)
    colors = np.array([frame, (0.08, 0.08, 0.08), (0.35, 0.35, 0.36)])
    parts = [
        card(
            x,
            z,
            length,
            length * 0.62,
            0.0,
            two_wheeler,
            counter.next(two_wheeler),
            Material("plain", colors, _seed(rng)),
            draw(rng),
            velocity,
        )
    ]
    if ridden:
        material = Material("cloth", _clothes(rng), _seed(rng))
        instance = counter.next("rider")
        mask = silhouettes.rider(rng)
        parts.append(card(x, z - 0.02, 0.85, 1.5, 0.3, "rider", instance, material, mask, velocity))
    return parts


def _clothes(rng: np.random.Generator) -> np.ndarray:
    """Colours of skin, hair, jacket, trousers and shoes."""
    jacket = rng.uniform(0.05, 0.9, 3)
    trousers = np.array((0.18, 0.2, 0.3)) * rng.uniform(0.4, 1.8)
    return np.array([_pick(rng, _SKIN), _pick(rng, _HAIR), jacket, trousers, (0.1, 0.09, 0.09)])


def tree(
    rng: np.random.Generator, x: float, z: float, base: float, tint: np.ndarray
) -> list[Primitive]:
    """A trunk under three overlapping crowns."""
    height = rng.uniform(4.5, 9.0)
    spread = height * rng.uniform(0.5, 0.75)
    bark = Material("plain", np.array([[0.27, 0.21, 0.16]]), _seed(rng))
    instance = ID["vegetation"]
    parts = [card(x, z, 0.035 * height, 0.5 * height, base, "vegetation", instance, bark)]
    for _ in range(3):
        size = spread * rng.uniform(0.7, 1.0)
        leaves = Material("leaves", tint[None] * rng.uniform(0.85, 1.15), _seed(rng))
        offset, depth = rng.normal(0, 0.13 * spread), rng.uniform(-0.25, 0.25) * spread
        bottom = base + height - size - rng.uniform(0, 0.2) * spread
        mask = silhouettes.crown(rng)
        parts.append(
            card(x + offset, z + depth, size, size, bottom, "vegetation", instance, leaves, mask)
        )
    return parts


def bush(
    rng: np.random.Generator, x: float, z: float, base: float, tint: np.ndarray
) -> list[Primitive]:
    """A low plant."""
    size = rng.uniform(1.0, 2.2)
    material = Material("leaves", tint[None] * rng.uniform(0.8, 1.1), _seed(rng))
    mask = silhouettes.crown(rng)
    return [card(x, z, 1.6 * size, size, base, "vegetation", ID["vegetation"], material, mask)]


def pole(
    rng: np.random.Generator, x: float, z: float, base: float, carries: str
) -> list[Primitive]:
    """A pole that carries a lamp, a traffic sign or a traffic light."""
    height = {"lamp": 6.5, "traffic sign": 2.9, "traffic light": 3.3}[carries]
    grey = Material("plain", np.full((1, 3), rng.uniform(0.25, 0.45)), _seed(rng))
    parts = [card(x, z, 0.16, height, base, "pole", ID["pole"], grey)]
    if carries == "lamp":
        reach = -np.sign(x) * 1.4
        arm = card(x + reach / 2, z, abs(reach), 0.12, base + height, "pole", ID["pole"], grey)
        return [*parts, arm]
    if carries == "traffic sign":
        red, blue = (0.75, 0.06, 0.08), (0.08, 0.2, 0.62)
        rim, field = (red, (0.93,) * 3) if rng.random() < 0.6 else (blue, blue)
        colors = np.array([rim, field, (0.05,) * 3 if field != blue else (0.95,) * 3])
        mask, size, bottom = silhouettes.sign(rng), (0.85, 0.85), base + height - 0.7
    else:
        on = rng.integers(3)
        lights = np.array([(0.9, 0.1, 0.08), (0.95, 0.65, 0.1), (0.1, 0.8, 0.4)])
        lights[np.arange(3) != on] *= 0.2
        colors = np.vstack([[(0.07, 0.08, 0.07)], lights])
        mask, size, bottom = silhouettes.traffic_light(rng), (0.42, 1.05), base + height - 0.9
    material = Material("plain", colors, _seed(rng))
    parts.append(card(x, z - 0.05, *size, bottom, carries, ID[carries], material, mask))
    return parts
