"""Measures of a street that everything in it shares."""

import dataclasses

import numpy as np

NEAREST, FARTHEST = -12.0, 130.0  # meters of street behind and before the camera's start
CURB = 0.13  # height of the sidewalks, meters
PARKING = 2.2  # width of the lane at each side where cars park, meters


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of a street, from the road outwards.

    Attributes:
        sign: -1 on the left, 1 on the right.
        verge: width of the grass between road and sidewalk, meters; 0 for none.
        sidewalk: its width, meters.
        lawn: width of the grass before the buildings, meters.
        parked: share of the places at the road that cars take.
        railing: whether a fence keeps people from the road.
    """

    sign: int
    verge: float
    sidewalk: float
    lawn: float
    parked: float
    railing: bool


@dataclasses.dataclass(frozen=True)
class Plan:
    """A street.

    Attributes:
        half_road: half the width of the road with its parking lanes, meters.
        greenery: how much grows here, 0 to 1.
        tint: RGB of the leaves.
        sides: left and right.
        parking: width of the lanes at its sides where cars park, meters; 0 for none.
        speed: of the camera, meters per frame.
    """

    half_road: float
    greenery: float
    tint: np.ndarray
    sides: tuple[Side, Side]
    parking: float
    speed: float

    @property
    def curb_lane(self) -> float:
        """Half the width of what is driven on, meters."""
        return self.half_road - self.parking

    @property
    def lane(self) -> float:
        """From the middle of the road to the middle of a lane, meters."""
        return 0.5 * self.curb_lane + 0.2

    def facade(self, side: Side) -> float:
        """Where the buildings of a side stand: x, meters."""
        return side.sign * (self.half_road + side.verge + side.sidewalk + side.lawn)


def sample_plan(rng: np.random.Generator) -> Plan:
    """Draws a street from an avenue with trees and lawns to a narrow one of stone."""
    greenery = float(rng.choice([0.1, 0.4, 0.8]))
    parking = PARKING if rng.random() < 0.65 else 0.0
    return Plan(
        half_road=rng.uniform(2.6, 5.3) + parking,
        parking=parking,
        greenery=greenery,
        tint=np.array([0.25, 0.38, 0.14]) * rng.uniform(0.75, 1.2) + rng.normal(0, 0.03, 3),
        sides=(_sample_side(rng, -1, greenery, parking), _sample_side(rng, 1, greenery, parking)),
        speed=rng.uniform(0.3, 0.75),
    )


def _sample_side(rng: np.random.Generator, sign: int, greenery: float, parking: float) -> Side:
    has_verge, has_lawn = rng.random(2) < (0.5 * greenery, 0.15 + 0.5 * greenery)
    return Side(
        sign=sign,
        verge=rng.uniform(1.0, 2.2) if has_verge else 0.0,
        sidewalk=rng.uniform(1.4, 6.0),
        lawn=rng.uniform(1.5, 6.0) if has_lawn else rng.uniform(0.0, 0.5),
        parked=max(0.0, rng.uniform(-0.35, 0.9)) if parking else 0.0,
        railing=rng.random() < 0.15,
    )
