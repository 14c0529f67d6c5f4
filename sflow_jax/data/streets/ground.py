"""The ground of a street: road, curbs, sidewalks and grass."""

import numpy as np

from sflow_jax.data.streets.geometry import Primitive
from sflow_jax.data.streets.materials import Material
from sflow_jax.data.streets.objects import ID
from sflow_jax.data.streets.plan import CURB, FARTHEST, NEAREST, Plan, Side

_LENGTH = FARTHEST + 20 - NEAREST
_BACKYARD = 60.0  # meters of grass behind the line of the facades, seen through gaps


def sample_ground(rng: np.random.Generator, plan: Plan) -> list[Primitive]:
    """Draws the ground of a street."""
    asphalt = Material(
        "road",
        np.full((1, 3), rng.uniform(0.26, 0.42)) * np.array([1.0, 1.0, 1.02]),
        int(rng.integers(1 << 12)),
        {
            "half_width": plan.half_road,
            "parking": plan.parking if rng.random() < 0.8 else -1.0,
            "dash": float(rng.choice([6.0, 9.0, 1e6])),
            "crossing": rng.uniform(6, 30) if rng.random() < 0.4 else 1e6,
        },
    )
    slabs = Material("paving", np.array([[0.56, 0.53, 0.49]]) * rng.uniform(0.8, 1.15), 3)
    grass = Material("grass", np.array([[0.30, 0.38, 0.16]]) * rng.uniform(0.8, 1.2), 5)
    parts = [_flat(-plan.half_road, plan.half_road, 0.0, "road", asphalt)]
    for side in plan.sides:
        parts += _strips(plan, side, slabs, grass)
    return parts


def _strips(plan: Plan, side: Side, slabs: Material, grass: Material) -> list[Primitive]:
    """What lies beside the road: curb, verge, sidewalk and grass."""
    stone = Material("plain", np.array([[0.62, 0.61, 0.58]]), 7)
    curb_end = plan.half_road + 0.25
    verge_end = max(curb_end, plan.half_road + side.verge)
    sidewalk_end = plan.half_road + side.verge + side.sidewalk
    strips = [
        (plan.half_road, curb_end, "sidewalk", stone),
        (curb_end, verge_end, "terrain", grass),
        (verge_end, sidewalk_end, "sidewalk", slabs),
        (sidewalk_end, sidewalk_end + _BACKYARD, "terrain", grass),
    ]
    parts = [
        _flat(side.sign * inner, side.sign * outer, CURB, name, material)
        for inner, outer, name, material in strips
        if outer > inner
    ]
    edge = Primitive(
        corner=np.array([side.sign * plan.half_road, -CURB, NEAREST]),
        right=np.array([0.0, 0.0, _LENGTH]),
        down=np.array([0.0, CURB, 0.0]),
        label=ID["sidewalk"],
        instance=ID["sidewalk"],
        material=stone,
    )
    return [*parts, edge]


def _flat(x0: float, x1: float, height: float, name: str, material: Material) -> Primitive:
    """The ground between two lines along the street, in any order."""
    x0, x1 = min(x0, x1), max(x0, x1)
    return Primitive(
        corner=np.array([x0, -height, NEAREST]),
        right=np.array([x1 - x0, 0.0, 0.0]),
        down=np.array([0.0, 0.0, _LENGTH]),
        label=ID[name],
        instance=ID[name],
        material=material,
    )
