"""What lines a street: buildings side by side, gaps between them, and what encloses their lawns."""

import dataclasses

import numpy as np

from sflow_jax.data.streets import objects, silhouettes
from sflow_jax.data.streets.geometry import Primitive
from sflow_jax.data.streets.materials import Material
from sflow_jax.data.streets.objects import ID, draw_seed, pick
from sflow_jax.data.streets.plan import CURB, FARTHEST, NEAREST, Plan, Side

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
_DEPTH = 14.0  # of a building, meters


@dataclasses.dataclass(frozen=True)
class Row:
    """The buildings along one side, for shadows.

    Attributes:
        x: of their facades, meters.
        starts: z where each begins, meters, ascending.
        heights: meters; 0 is a gap.
    """

    x: float
    starts: np.ndarray
    heights: np.ndarray


def sample_frontage(
    rng: np.random.Generator, plan: Plan, side: Side
) -> tuple[list[Primitive], Row]:
    """Draws one side: lots of random width, each a building or a gap."""
    x = plan.facade(side)
    tallest = rng.uniform(9, 24)
    parts, starts, heights = [], [], []
    z = NEAREST
    while z < FARTHEST:
        length = rng.uniform(7, 20)
        is_gap = rng.random() < 0.12 + 0.25 * plan.greenery
        height = 0.0 if is_gap else rng.uniform(6, tallest)
        starts.append(z)
        heights.append(height)
        if is_gap:
            parts += _barrier(rng, plan, x, z, length) + _plants(rng, plan, x, z, length, side.sign)
        else:
            parts += _building(sample_facade(rng), x, z, length, height, side.sign)
        if side.lawn > 1:
            parts += _front_garden(rng, plan, side, z, length)
        z += length
    return parts, Row(x, np.array(starts), np.array(heights))


def sample_facade(rng: np.random.Generator) -> Material:
    """Draws colors and proportions of a building; no two are alike."""
    wall = pick(rng, _WALLS)
    trim = np.clip(wall * rng.uniform(0.6, 1.35), 0.05, 0.97)
    ground = np.clip(wall * rng.uniform(0.5, 1.1) + rng.normal(0, 0.06, 3), 0.05, 0.95)
    door = rng.uniform(0.05, 0.5, 3)
    options = {
        "floor": rng.uniform(2.9, 3.8),
        "ground": rng.uniform(3.4, 4.5),
        "bay": rng.uniform(2.3, 4.4),
        "window_width": rng.uniform(0.4, 0.75),
        "window_height": rng.uniform(0.45, 0.75),
        "brick": float(rng.random() < 0.4),
    }
    return Material(
        "facade", np.clip([wall, trim, ground, door], 0.03, 0.97), draw_seed(rng), options
    )


def _building(
    material: Material, x: float, z: float, length: float, height: float, sign: int
) -> list[Primitive]:
    """The facade along the street, and the wall that shows where the row has a gap before it."""
    corner, down = np.array([x, -height - CURB, z]), np.array([0.0, height + CURB, 0.0])
    return [
        Primitive(corner, right, down, ID["building"], ID["building"], material)
        for right in (np.array([0.0, 0.0, length]), np.array([sign * _DEPTH, 0.0, 0.0]))
    ]


def _front_garden(
    rng: np.random.Generator, plan: Plan, side: Side, z: float, length: float
) -> list[Primitive]:
    x = plan.facade(side) - side.sign * (side.lawn - 0.15)
    parts = []
    if rng.random() < 0.55:
        parts += _barrier(rng, plan, x, z, length, tallest=1.3)
    for _ in range(rng.poisson(0.6 + plan.greenery)):
        place = x + side.sign * rng.uniform(0.7, side.lawn - 0.3), z + rng.uniform(0, length)
        parts += objects.bush(rng, *place, CURB, plan.tint)
    return parts


def _barrier(
    rng: np.random.Generator, plan: Plan, x: float, z: float, length: float, tallest: float = 2.6
) -> list[Primitive]:
    """A wall, a fence, a hedge or nothing along the street."""
    kind = str(rng.choice(["wall", "fence", "vegetation", "none"], p=[0.36, 0.4, 0.14, 0.1]))
    if kind == "none":
        return []
    height = rng.uniform(0.6, tallest if kind == "wall" else min(tallest, 1.7))
    gray = rng.uniform(0.4, 0.75) * np.array([1.0, 0.97, 0.92])
    seed = draw_seed(rng)
    if kind == "wall":
        return _along(
            x, z, length, height, kind, Material("wall", np.array([gray, gray * 0.8]), seed)
        )
    if kind == "fence" and rng.random() < 0.4:  # of boards
        boards = np.array([gray, gray * 0.8]) * np.array([0.85, 0.7, 0.55])
        return _along(x, z, length, height, kind, Material("wall", boards, seed))
    if kind == "fence":
        return _bars(rng, x, z, length, height)
    leaves = Material("leaves", plan.tint[None] * rng.uniform(0.7, 1.0), seed)
    return _along(x, z, length, height, kind, leaves)


def railing(rng: np.random.Generator, x: float) -> list[Primitive]:
    """What keeps people from the road: some fences with gaps between them."""
    parts, z = [], rng.uniform(-5, 15)
    while z < 70:
        length = rng.uniform(6, 20)
        parts += _bars(rng, x, z, length, rng.uniform(0.9, 1.2))
        z += length + rng.uniform(2, 15)
    return parts


def _bars(
    rng: np.random.Generator, x: float, z: float, length: float, height: float
) -> list[Primitive]:
    mask = np.tile(silhouettes.fence(rng), (1, max(1, int(length))))
    gray = rng.uniform(0.15, 0.8) * np.ones((1, 3))
    material = Material("plain", gray, draw_seed(rng))
    return _along(x, z, length, height, "fence", material, mask)


def _along(
    x: float,
    z: float,
    length: float,
    height: float,
    name: str,
    material: Material,
    mask: np.ndarray | None = None,
) -> list[Primitive]:
    """An upright rectangle along the street."""
    return [
        Primitive(
            corner=np.array([x, -height - CURB, z]),
            right=np.array([0.0, 0.0, length]),
            down=np.array([0.0, height, 0.0]),
            label=ID[name],
            instance=ID[name],
            material=material,
            mask=mask,
            casts_shadow=True,
        )
    ]


def _plants(
    rng: np.random.Generator, plan: Plan, x: float, z: float, length: float, sign: int
) -> list[Primitive]:
    """Trees and bushes in a gap between buildings."""
    parts = []
    for _ in range(int(1 + 4 * plan.greenery)):
        place = (x + sign * rng.uniform(2, 9), z + rng.uniform(0, length))
        parts += objects.tree(rng, *place, CURB, plan.tint)
        parts += objects.bush(rng, x + sign * rng.uniform(1, 6), z + length / 2, CURB, plan.tint)
    return parts
