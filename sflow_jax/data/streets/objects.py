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
PAINTS = [
    (0.80, 0.81, 0.82),
    (0.10, 0.10, 0.12),
    (0.45, 0.47, 0.50),
    (0.62, 0.10, 0.10),
    (0.12, 0.22, 0.50),
    (0.16, 0.30, 0.22),
    (0.75, 0.55, 0.12),
    (0.92, 0.92, 0.92),
]


class InstanceCounter:
    """Instance ids as in Cityscapes: class * 1000 + k for things."""

    def __init__(self) -> None:
        self._counts = {name: itertools.count() for name in ID}

    def next(self, name: str) -> int:
        """The id of one more instance of a class."""
        return ID[name] * 1000 + next(self._counts[name])


def pick(rng: np.random.Generator, choices: list, spread: float = 0.04) -> np.ndarray:
    """One of some colors, a little changed; RGB [3]."""
    color = np.array(choices[rng.integers(len(choices))])
    return np.clip(color + rng.normal(0, spread, 3), 0.02, 1)


def draw_seed(rng: np.random.Generator) -> int:
    """A seed for the noise of a material."""
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
    """An upright rectangle facing the camera; `base` is its lower edge's height in meters."""
    return Primitive(
        corner=np.array([x - width / 2, -base - height, z]),
        right=np.array([width, 0.0, 0.0]),
        down=np.array([0.0, height, 0.0]),
        label=ID[name],
        instance=instance,
        material=material,
        mask=mask,
        velocity=np.array([velocity[0], 0.0, velocity[1]]),
        casts_shadow=True,
    )


def pedestrian(
    rng: np.random.Generator, counter: InstanceCounter, x: float, z: float, base: float
) -> list[Primitive]:
    """Someone standing or walking along or across."""
    height = rng.uniform(1.5, 1.9)
    velocity = (rng.normal(0, 0.03), rng.normal(0, 0.05))
    mask = silhouettes.person(rng)
    material = Material("cloth", _clothes(rng), draw_seed(rng))
    instance = counter.next("person")
    return [card(x, z, height / 2, height, base, "person", instance, material, mask, velocity)]


def two_wheeler(
    rng: np.random.Generator,
    counter: InstanceCounter,
    x: float,
    z: float,
    base: float,
    name: str,
    velocity: tuple[float, float],
) -> list[Primitive]:
    """A bicycle or motorcycle."""
    draw = silhouettes.bicycle if name == "bicycle" else silhouettes.motorcycle
    length = 1.75 if name == "bicycle" else 2.1
    colors = np.array([pick(rng, PAINTS), (0.08, 0.08, 0.08), (0.35, 0.35, 0.36)])
    material, instance = Material("plain", colors, draw_seed(rng)), counter.next(name)
    return [card(x, z, length, 0.62 * length, base, name, instance, material, draw(rng), velocity)]


def cyclist(
    rng: np.random.Generator, counter: InstanceCounter, x: float, z: float, name: str
) -> list[Primitive]:
    """A bicycle or motorcycle on the road, with its rider."""
    velocity = (rng.normal(0, 0.02), rng.uniform(0.1, 0.35))
    material = Material("cloth", _clothes(rng), draw_seed(rng))
    mask, instance = silhouettes.rider(rng), counter.next("rider")
    rider = card(x, z - 0.02, 0.85, 1.5, 0.3, "rider", instance, material, mask, velocity)
    return [*two_wheeler(rng, counter, x, z, 0.0, name, velocity), rider]


def _clothes(rng: np.random.Generator) -> np.ndarray:
    """Colors of skin, hair, jacket, trousers and shoes."""
    jacket = rng.uniform(0.05, 0.9, 3)
    trousers = np.array((0.18, 0.2, 0.3)) * rng.uniform(0.4, 1.8)
    return np.array([pick(rng, _SKIN), pick(rng, _HAIR), jacket, trousers, (0.1, 0.09, 0.09)])


def tree(
    rng: np.random.Generator, x: float, z: float, base: float, tint: np.ndarray
) -> list[Primitive]:
    """A trunk under three overlapping crowns."""
    height = rng.uniform(3.5, 13.0)
    spread = height * rng.uniform(0.45, 0.8)
    bark = Material("plain", np.array([[0.27, 0.21, 0.16]]), draw_seed(rng))
    instance = ID["vegetation"]
    parts = [card(x, z, 0.035 * height, 0.5 * height, base, "vegetation", instance, bark)]
    for _ in range(rng.integers(2, 6)):
        size = spread * rng.uniform(0.7, 1.0)
        leaves = Material("leaves", tint[None] * rng.uniform(0.85, 1.15), draw_seed(rng))
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
    material = Material("leaves", tint[None] * rng.uniform(0.8, 1.1), draw_seed(rng))
    mask = silhouettes.crown(rng)
    return [card(x, z, 1.6 * size, size, base, "vegetation", ID["vegetation"], material, mask)]


def bollard(rng: np.random.Generator, x: float, z: float, base: float) -> list[Primitive]:
    """A post that keeps cars off the sidewalk."""
    gray = Material("plain", np.full((1, 3), rng.uniform(0.1, 0.45)), draw_seed(rng))
    width, height = rng.uniform(0.1, 0.22), rng.uniform(0.8, 1.1)
    return [card(x, z, width, height, base, "pole", ID["pole"], gray)]


def pole(
    rng: np.random.Generator, x: float, z: float, base: float, carries: str
) -> list[Primitive]:
    """A pole that carries a lamp, a traffic sign or a traffic light."""
    height = {"lamp": 6.5, "traffic sign": 2.9, "traffic light": 3.3}[carries]
    gray = Material("plain", np.full((1, 3), rng.uniform(0.25, 0.45)), draw_seed(rng))
    parts = [card(x, z, rng.uniform(0.12, 0.3), height, base, "pole", ID["pole"], gray)]
    if carries == "lamp":
        reach = -np.sign(x) * 1.4
        arm = card(x + reach / 2, z, abs(reach), 0.12, base + height, "pole", ID["pole"], gray)
        return [*parts, arm]
    if carries == "traffic sign":
        red, blue = (0.75, 0.06, 0.08), (0.08, 0.2, 0.62)
        rim, field = (red, (0.93,) * 3) if rng.random() < 0.6 else (blue, blue)
        colors = np.array([rim, field, (0.05,) * 3 if field != blue else (0.95,) * 3])
        mask, size, bottom = (
            silhouettes.sign(rng),
            (rng.uniform(0.6, 1.2),) * 2,
            base + height - 0.7,
        )
    else:
        on = rng.integers(3)
        lights = np.array([(0.9, 0.1, 0.08), (0.95, 0.65, 0.1), (0.1, 0.8, 0.4)])
        lights[np.arange(3) != on] *= 0.2
        colors = np.vstack([[(0.07, 0.08, 0.07)], lights])
        mask, size, bottom = silhouettes.traffic_light(rng), (0.42, 1.05), base + height - 0.9
    material = Material("plain", colors, draw_seed(rng))
    parts.append(card(x, z - 0.05, *size, bottom, carries, ID[carries], material, mask))
    return parts
