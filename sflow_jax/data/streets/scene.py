"""A random street: what stands where, the light, and the way of the camera."""

import dataclasses

import numpy as np

from sflow_jax.data.streets import objects, silhouettes
from sflow_jax.data.streets.geometry import Primitive
from sflow_jax.data.streets.materials import Material
from sflow_jax.data.streets.objects import ID, InstanceCounter, card

NEAREST, FARTHEST = -12.0, 130.0  # metres of street before and behind the camera's start
CURB = 0.13  # height of the sidewalks, metres

_WALLS = [
    (0.78, 0.70, 0.58),
    (0.66, 0.33, 0.25),
    (0.85, 0.83, 0.78),
    (0.55, 0.52, 0.50),
    (0.74, 0.60, 0.40),
    (0.50, 0.58, 0.62),
    (0.62, 0.50, 0.44),
    (0.86, 0.76, 0.55),
    (0.40, 0.30, 0.27),
    (0.70, 0.74, 0.68),
]


@dataclasses.dataclass(frozen=True)
class Light:
    """Sun, sky and camera response of one clip.

    Attributes:
        to_sun: [3], unit vector.
        sun: brightness of direct light; 0 under an overcast sky.
        ambient: brightness of the sky's light.
        sky: RGB at the zenith and at the horizon, [2, 3].
        clouds: cover, 0 to 1.
        haze: share of light lost per metre.
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


@dataclasses.dataclass(frozen=True)
class Row:
    """The buildings along one side, for shadows.

    Attributes:
        x: of their facades, metres.
        starts: z where each begins, metres, ascending.
        heights: metres; 0 is a gap.
    """

    x: float
    starts: np.ndarray
    heights: np.ndarray


@dataclasses.dataclass(frozen=True)
class Scene:
    """Everything that a renderer needs.

    Attributes:
        primitives: what can be seen, moving or not.
        rows: the buildings on the left and on the right.
        light: of the whole clip.
        seed: of the noise that belongs to no surface.
        start: [3], the camera's position in frame 0, metres.
        step: [3], its motion per frame, metres.
        yaw: radians in frame 0, and change per frame.
    """

    primitives: list[Primitive]
    rows: tuple[Row, Row]
    light: Light
    seed: int
    start: np.ndarray
    step: np.ndarray
    yaw: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Widths of the street, metres, and its foliage's colour."""

    half_road: float
    parking: float
    sidewalk: float
    greenery: float
    tint: np.ndarray


def sample_scene(seed: int) -> Scene:
    """Draws a street; the same seed gives the same street."""
    rng = np.random.default_rng(seed)
    counter = InstanceCounter()
    plan = _Plan(
        half_road=rng.uniform(4.6, 7.5),
        parking=2.2,
        sidewalk=rng.uniform(2.2, 4.5),
        greenery=rng.choice([0.1, 0.4, 0.8]),
        tint=np.array([0.25, 0.38, 0.14]) * rng.uniform(0.75, 1.2) + rng.normal(0, 0.03, 3),
    )
    primitives = _ground(rng, plan)
    rows = []
    for side in (-1, 1):
        parts, row = _frontage(rng, plan, side)
        primitives += parts + _sidewalk_life(rng, counter, plan, side)
        rows.append(row)
    primitives += _end_of_street(rng, plan) + _traffic(rng, counter, plan)
    speed = rng.uniform(0.25, 0.75)
    return Scene(
        primitives=primitives,
        rows=(rows[0], rows[1]),
        light=_light(rng),
        seed=seed & 0xFFF,
        start=np.array([rng.uniform(0.2, 0.35) * plan.half_road, -rng.uniform(1.3, 1.7), 0.0]),
        step=np.array([rng.normal(0, 0.01), rng.normal(0, 0.004), speed]),
        yaw=(rng.normal(0, 0.05), rng.normal(0, 0.002)),
    )


def _light(rng: np.random.Generator) -> Light:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(25, 60))
    to_sun = np.array(
        [
            np.cos(elevation) * np.sin(azimuth),
            -np.sin(elevation),
            np.cos(elevation) * np.cos(azimuth),
        ]
    )
    overcast = rng.random() < 0.35
    warmth = rng.normal(0, 0.04)
    clear = np.array([[0.38, 0.58, 0.88], [0.80, 0.88, 0.95]])
    grey = np.array([[0.72, 0.75, 0.79], [0.88, 0.89, 0.90]])
    return Light(
        to_sun=to_sun,
        sun=0.0 if overcast else rng.uniform(0.5, 0.75),
        ambient=rng.uniform(0.75, 0.95) if overcast else rng.uniform(0.5, 0.62),
        sky=grey if overcast else clear,
        clouds=rng.uniform(0.2, 0.9),
        haze=rng.uniform(0.001, 0.006),
        gain=rng.uniform(0.88, 1.12) * np.array([1 + warmth, 1.0, 1 - warmth]),
        noise=rng.uniform(0.006, 0.016),
    )


def _flat(x0: float, x1: float, height: float, name: str, material: Material) -> Primitive:
    return Primitive(
        corner=np.array([x0, -height, NEAREST]),
        right=np.array([x1 - x0, 0.0, 0.0]),
        down=np.array([0.0, 0.0, FARTHEST + 20 - NEAREST]),
        label=ID[name],
        instance=ID[name],
        material=material,
    )


def _ground(rng: np.random.Generator, plan: _Plan) -> list[Primitive]:
    asphalt = Material(
        "road",
        np.full((1, 3), rng.uniform(0.26, 0.42)) * np.array([1.0, 1.0, 1.02]),
        int(rng.integers(1 << 12)),
        {
            "centre": 0.0,
            "half_width": plan.half_road,
            "parking": plan.parking,
            "dash": rng.choice([6.0, 9.0]),
            "crossing": rng.uniform(6, 30) if rng.random() < 0.4 else 1e6,
        },
    )
    slabs = Material("paving", np.array([[0.56, 0.53, 0.49]]) * rng.uniform(0.8, 1.15), 3)
    grass = Material("grass", np.array([[0.30, 0.38, 0.16]]) * rng.uniform(0.8, 1.2), 5)
    stone = Material("plain", np.array([[0.62, 0.61, 0.58]]), 7)
    road, kerb = plan.half_road, plan.half_road + plan.sidewalk
    parts = [_flat(-road, road, 0.0, "road", asphalt)]
    for side in (-1, 1):
        inner, outer = sorted((side * road, side * kerb))
        parts.append(_flat(inner, outer, CURB, "sidewalk", slabs))
        inner, outer = sorted((side * kerb, side * (kerb + 60)))
        parts.append(_flat(inner, outer, CURB, "terrain", grass))
        edge = Primitive(
            corner=np.array([side * road, -CURB, NEAREST]),
            right=np.array([0.0, 0.0, FARTHEST + 20 - NEAREST]),
            down=np.array([0.0, CURB, 0.0]),
            label=ID["sidewalk"],
            instance=ID["sidewalk"],
            material=stone,
        )
        parts.append(edge)
    return parts


def _facade_material(rng: np.random.Generator) -> Material:
    wall = np.array(_WALLS[rng.integers(len(_WALLS))]) + rng.normal(0, 0.04, 3)
    trim = np.clip(wall * rng.uniform(0.6, 1.35), 0.05, 0.97)
    ground = np.clip(wall * rng.uniform(0.5, 1.1) + rng.normal(0, 0.06, 3), 0.05, 0.95)
    door = rng.uniform(0.05, 0.5, 3)
    options = {
        "floor": rng.uniform(2.9, 3.8),
        "ground": rng.uniform(3.4, 4.5),
        "bay": rng.uniform(1.9, 3.6),
        "window_width": rng.uniform(0.4, 0.75),
        "window_height": rng.uniform(0.45, 0.75),
        "brick": float(rng.random() < 0.4),
    }
    return Material(
        "facade",
        np.clip([wall, trim, ground, door], 0.03, 0.97),
        int(rng.integers(1 << 12)),
        options,
    )


def _frontage(rng: np.random.Generator, plan: _Plan, side: int) -> tuple[list[Primitive], Row]:
    """Buildings side by side, with gaps that hold walls, fences, trees and grass."""
    x = side * (plan.half_road + plan.sidewalk + rng.uniform(0.0, 1.0))
    parts, starts, heights = [], [], []
    z = NEAREST
    while z < FARTHEST:
        length = rng.uniform(7, 20)
        is_gap = rng.random() < 0.12 + 0.25 * plan.greenery
        height = 0.0 if is_gap else rng.uniform(7, 22)
        starts.append(z)
        heights.append(height)
        if is_gap:
            parts += _gap(rng, plan, x, z, length, side)
        else:
            parts += _building(_facade_material(rng), x, z, length, height, side)
        z += length
    return parts, Row(x, np.array(starts), np.array(heights))


def _building(
    material: Material, x: float, z: float, length: float, height: float, side: int
) -> list[Primitive]:
    down, top = np.array([0.0, height + CURB, 0.0]), -height - CURB
    faces = [
        (np.array([x, top, z]), np.array([0.0, 0.0, length])),
        (np.array([x, top, z]), np.array([side * 14.0, 0.0, 0.0])),
    ]
    return [
        Primitive(corner, right, down, ID["building"], ID["building"], material)
        for corner, right in faces
    ]


def _gap(
    rng: np.random.Generator, plan: _Plan, x: float, z: float, length: float, side: int
) -> list[Primitive]:
    parts = []
    barrier = rng.choice(["wall", "fence", "none"], p=[0.45, 0.4, 0.15])
    seed = int(rng.integers(1 << 12))
    if barrier != "none":
        height = rng.uniform(1.2, 2.6) if barrier == "wall" else rng.uniform(1.0, 1.7)
        grey = rng.uniform(0.4, 0.75) * np.array([1.0, 0.97, 0.92])
        colors = np.array([grey, grey * 0.8]) if barrier == "wall" else grey[None] * 0.5
        mask = None
        if barrier == "fence":
            mask = np.tile(silhouettes.fence(rng), (1, max(1, int(length))))
        parts.append(
            Primitive(
                corner=np.array([x, -height - CURB, z]),
                right=np.array([0.0, 0.0, length]),
                down=np.array([0.0, height, 0.0]),
                label=ID[barrier],
                instance=ID[barrier],
                material=Material("wall" if barrier == "wall" else "plain", colors, seed),
                mask=mask,
            )
        )
    for _ in range(int(1 + 4 * plan.greenery)):
        place = (x + side * rng.uniform(2, 9), z + rng.uniform(0, length))
        parts += objects.tree(rng, *place, CURB, plan.tint)
        parts += objects.bush(rng, x + side * rng.uniform(1, 6), z + length / 2, CURB, plan.tint)
    return parts


def _sidewalk_life(
    rng: np.random.Generator, counter: InstanceCounter, plan: _Plan, side: int
) -> list[Primitive]:
    """Poles, trees, people, parked two-wheelers and parked cars along one side."""
    parts = []
    kerb, inner = side * (plan.half_road + 0.5), plan.half_road + 0.9
    z = rng.uniform(3, 14)
    while z < 100:
        carries = rng.choice(["lamp", "traffic sign", "traffic light"], p=[0.4, 0.35, 0.25])
        parts += objects.pole(rng, kerb, z, CURB, carries)
        z += rng.uniform(9, 24)
    z = rng.uniform(5, 20)
    while z < 100 and rng.random() < 0.3 + plan.greenery:
        parts += objects.tree(rng, kerb + side * 0.5, z, CURB, plan.tint)
        z += rng.uniform(7, 16)
    for _ in range(rng.poisson(5)):
        x = side * rng.uniform(inner, plan.half_road + plan.sidewalk)
        parts += objects.person(rng, counter, x, rng.uniform(5, 60), CURB)
    for _ in range(rng.poisson(0.8)):
        kind = "bicycle" if rng.random() < 0.65 else "motorcycle"
        x, z = side * rng.uniform(inner, inner + 1), rng.uniform(6, 35)
        parts += objects.cyclist(rng, counter, x, z, kind, ridden=False)
    z, occupancy = rng.uniform(1, 10), rng.uniform(0.15, 0.9)
    while z < 110:
        if rng.random() < occupancy:
            x = side * (plan.half_road - 1.05)
            name = "truck" if rng.random() < 0.05 else "car"
            parts += objects.vehicle(rng, counter, name, x, z, side < 0, 0.0)
        z += rng.uniform(5.4, 7.5)
    return parts


def _traffic(rng: np.random.Generator, counter: InstanceCounter, plan: _Plan) -> list[Primitive]:
    """What drives: ahead on the right, oncoming on the left, and cyclists."""
    parts = []
    lane = 0.5 * (plan.half_road - plan.parking) + 0.2
    kinds, shares = ["car", "truck", "bus", "train"], [0.72, 0.12, 0.11, 0.05]
    for oncoming in (False, True):
        z = rng.uniform(7, 26)
        while z < 110 and rng.random() < 0.75:
            name = rng.choice(kinds, p=shares)
            velocity = -rng.uniform(0.3, 0.7) if oncoming else rng.uniform(0.2, 0.7)
            x = -lane if oncoming else lane
            parts += objects.vehicle(rng, counter, name, x, z, oncoming, velocity)
            z += rng.uniform(26, 45)
    for _ in range(rng.poisson(0.9)):
        x = rng.choice([-1, 1]) * (plan.half_road - plan.parking - 0.3)
        kind = "bicycle" if rng.random() < 0.7 else "motorcycle"
        parts += objects.cyclist(rng, counter, x, rng.uniform(8, 35), kind, ridden=True)
    return parts


def _end_of_street(rng: np.random.Generator, plan: _Plan) -> list[Primitive]:
    """What closes the view where the street bends away: buildings or trees."""
    parts = []
    x = -70.0
    while x < 70:
        width = rng.uniform(9, 22)
        if rng.random() < 0.6:
            height, material = rng.uniform(8, 20), _facade_material(rng)
            parts.append(
                card(
                    x + width / 2,
                    FARTHEST + 10,
                    width,
                    height,
                    0.0,
                    "building",
                    ID["building"],
                    material,
                )
            )
        else:
            parts += objects.tree(rng, x + width / 2, FARTHEST + 5, 0.0, plan.tint)
        x += width
    return parts
