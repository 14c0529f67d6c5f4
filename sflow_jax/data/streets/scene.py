"""A random street: what stands, walks and drives in it, its light, and the way of the camera."""

import dataclasses

import numpy as np

from sflow_jax.data.streets import frontage, objects
from sflow_jax.data.streets.frontage import Row, sample_facade, sample_frontage
from sflow_jax.data.streets.geometry import Primitive
from sflow_jax.data.streets.ground import sample_ground
from sflow_jax.data.streets.lighting import Light, sample_light
from sflow_jax.data.streets.objects import ID, InstanceCounter, card
from sflow_jax.data.streets.plan import CURB, FARTHEST, PARKING, Plan, Side, sample_plan
from sflow_jax.data.streets.vehicles import vehicle


@dataclasses.dataclass(frozen=True)
class Drive:
    """The way of the camera: straight on, with the slow sway of a car.

    Attributes:
        start: [3], where it would be in frame 0 without sway, meters.
        speed: along z, meters per frame.
        yaw: radians, without sway.
        sway: amplitudes in x and y, meters, and in yaw, radians.
        period: of the sway, frames.
        phase: of the sway in frame 0, radians.
        lens: of the camera; see `geometry.Camera`.
        horizon: likewise.
    """

    start: np.ndarray
    speed: float
    yaw: float
    sway: np.ndarray
    period: float
    phase: float
    lens: float
    horizon: float

    def pose(self, frame: int) -> tuple[np.ndarray, float]:
        """Position [3] in meters and yaw in radians."""
        angle = self.phase + 2 * np.pi * frame / self.period
        x, y, yaw = self.sway * np.sin(angle * np.array([1.0, 2.3, 1.0]))
        return self.start + np.array([x, y, frame * self.speed]), self.yaw + yaw


@dataclasses.dataclass(frozen=True)
class StreetScene:
    """Everything that a renderer needs.

    Attributes:
        primitives: what can be seen, moving or not.
        rows: the buildings on the left and on the right.
        light: of the whole clip.
        drive: the way of the camera.
        seed: of the noise that belongs to no surface.
    """

    primitives: list[Primitive]
    rows: tuple[Row, Row]
    light: Light
    drive: Drive
    seed: int


def sample_scene(seed: int) -> StreetScene:
    """Draws a street; the same seed gives the same street."""
    rng = np.random.default_rng(seed)
    counter = InstanceCounter()
    plan = sample_plan(rng)
    primitives, rows = sample_ground(rng, plan), []
    for side in plan.sides:
        parts, row = sample_frontage(rng, plan, side)
        primitives += parts + _furniture(rng, plan, side) + _people(rng, counter, plan, side)
        primitives += _parked(rng, counter, plan, side)
        rows.append(row)
    primitives += _end_of_street(rng, plan) + _traffic(rng, counter, plan)
    return StreetScene(
        primitives=primitives,
        rows=(rows[0], rows[1]),
        light=sample_light(rng),
        drive=_drive(rng, plan),
        seed=seed & 0xFFF,
    )


def _drive(rng: np.random.Generator, plan: Plan) -> Drive:
    return Drive(
        start=np.array([plan.lane + rng.uniform(-0.7, 0.5), -rng.uniform(1.2, 1.9), 0.0]),
        speed=plan.speed,
        yaw=rng.normal(0, 0.09),
        sway=np.array([rng.uniform(0, 0.12), rng.uniform(0, 0.02), rng.uniform(0, 0.015)]),
        period=rng.uniform(30, 60),
        phase=rng.uniform(0, 2 * np.pi),
        lens=rng.uniform(0.75, 1.25),
        horizon=rng.uniform(0.38, 0.52),
    )


def _furniture(rng: np.random.Generator, plan: Plan, side: Side) -> list[Primitive]:
    """Poles and trees along the curb."""
    parts, curb = [], side.sign * (plan.half_road + 0.5)
    z = rng.uniform(2, 14)
    while z < 100:
        carries = str(rng.choice(["lamp", "traffic sign", "traffic light"], p=[0.4, 0.35, 0.25]))
        parts += objects.pole(rng, curb + side.sign * rng.uniform(-0.2, 1.0), z, CURB, carries)
        z += rng.uniform(5, 24)
    if rng.random() < 0.3:
        spacing, z = rng.uniform(1.5, 3), rng.uniform(3, 10)
        for _ in range(rng.integers(4, 12)):
            parts += objects.bollard(rng, curb, z, CURB)
            z += spacing
    if side.railing:
        parts += frontage.railing(rng, curb)
    z = rng.uniform(5, 20)
    while z < 100 and rng.random() < 0.3 + plan.greenery:
        parts += objects.tree(rng, curb + side.sign * 0.5, z, CURB, plan.tint)
        z += rng.uniform(7, 16)
    return parts


def _people(
    rng: np.random.Generator, counter: InstanceCounter, plan: Plan, side: Side
) -> list[Primitive]:
    """Who is on the sidewalk, and the two-wheelers that stand there."""
    parts = []
    inner = plan.half_road + side.verge + 0.9
    outer = plan.half_road + side.verge + side.sidewalk
    for _ in range(rng.poisson(rng.choice([1, 5, 12]))):
        x = side.sign * rng.uniform(inner, outer)
        parts += objects.pedestrian(rng, counter, x, rng.uniform(3, 45), CURB)
    for _ in range(rng.poisson(0.8)):
        kind = "bicycle" if rng.random() < 0.65 else "motorcycle"
        x, z = side.sign * rng.uniform(inner, inner + 1), rng.uniform(6, 35)
        parts += objects.two_wheeler(rng, counter, x, z, CURB, kind, (0.0, 0.0))
    return parts


def _parked(
    rng: np.random.Generator, counter: InstanceCounter, plan: Plan, side: Side
) -> list[Primitive]:
    """Cars and few trucks in the parking lane."""
    parts, x = [], side.sign * (plan.half_road - PARKING / 2)
    z = rng.uniform(-1, 10)
    while z < 110:
        if rng.random() < side.parked:
            name = "truck" if rng.random() < 0.05 else "car"
            parts += vehicle(rng, counter, name, x, z, side.sign < 0, 0.0)
            z += 4.0 if name == "truck" else 0.0
        z += rng.uniform(5.6, 7.5)
    return parts


def _traffic(rng: np.random.Generator, counter: InstanceCounter, plan: Plan) -> list[Primitive]:
    """What drives: ahead on the right, oncoming on the left, and cyclists."""
    parts = []
    lane = plan.lane
    kinds, shares = ["car", "truck", "bus", "train"], [0.72, 0.12, 0.11, 0.05]
    for oncoming in (False, True):
        z = rng.uniform(6, 26)
        while z < 110 and rng.random() < 0.75:
            name = str(rng.choice(kinds, p=shares))
            # Hardly slower than the camera, which would drive into it in a long clip.
            velocity = -rng.uniform(0.3, 0.7) if oncoming else plan.speed + rng.uniform(-0.05, 0.2)
            x = -lane if oncoming else lane
            parts += vehicle(rng, counter, name, x, z, oncoming, velocity)
            z += rng.uniform(26, 45)
    for _ in range(rng.poisson(0.9)):
        x = rng.choice([-1, 1]) * (plan.curb_lane - 0.3)
        kind = "bicycle" if rng.random() < 0.7 else "motorcycle"
        parts += objects.cyclist(rng, counter, x, rng.uniform(8, 35), kind)
    return parts


def _end_of_street(rng: np.random.Generator, plan: Plan) -> list[Primitive]:
    """What closes the view where the street bends away: buildings or trees."""
    parts = []
    x = -70.0
    while x < 70:
        width = rng.uniform(9, 22)
        if rng.random() < 0.6:
            height, material, name = rng.uniform(8, 20), sample_facade(rng), "building"
            middle = x + width / 2
            parts.append(card(middle, FARTHEST + 10, width, height, 0.0, name, ID[name], material))
        else:
            parts += objects.tree(rng, x + width / 2, FARTHEST + 5, 0.0, plan.tint)
        x += width
    return parts
