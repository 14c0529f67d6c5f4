"""Colors of surfaces: the structure that both renderings share, and the texture of the real one.

A CG frame shows the structure (windows, lane marks, the parts of a car) in flat colors. The real
frame multiplies it with textures (bricks, asphalt, leaves, stains), which are functions of surface
coordinates in meters, so that they move with their surface. Textures finer than a pixel fade out.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from sflow_jax.data.streets.noise import cell_noise, smooth_noise

GLASS = np.array([0.24, 0.28, 0.33])
RUBBER = np.array([0.05, 0.05, 0.055])
PAINT = np.array([0.92, 0.92, 0.88])


@dataclasses.dataclass(frozen=True)
class Material:
    """How a primitive is colored.

    Attributes:
        kind: which function of this module colors it.
        colors: RGB in [0, 1], [parts, 3]; what the parts are depends on the kind.
        seed: of its noise.
        options: numbers that the kind needs, such as the spacing of windows.
    """

    kind: str
    colors: np.ndarray
    seed: int = 0
    options: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Surface:
    """The pixels that see one primitive, flattened to [N].

    Attributes:
        s: meters along the primitive.
        r: meters down the primitive.
        size: lengths of its sides, meters.
        part: ids from the primitive's mask, 1 on a solid one.
        points: [N, 3] in the primitive's own frame of reference, meters.
        footprint: meters that a pixel covers, seen face on.
    """

    s: np.ndarray
    r: np.ndarray
    size: tuple[float, float]
    part: np.ndarray
    points: np.ndarray
    footprint: np.ndarray


Shaded = tuple[np.ndarray, np.ndarray]


def shade(material: Material, surface: Surface) -> Shaded:
    """Colors a surface.

    Returns:
        Structure, RGB [N, 3] in [0, 1], and texture, factors [N] around 1.
    """
    return _KINDS[material.kind](material, surface)


def _texture(
    material: Material, surface: Surface, wavelength: float, amount: float, layer: int = 0
) -> np.ndarray:
    """Smooth noise around 0, faded out where a wave is shorter than two pixels."""
    noise = smooth_noise(surface.s / wavelength, surface.r / wavelength, material.seed + 17 * layer)
    return amount * 2 * (noise - 0.5) * _visible(surface, wavelength)


def _visible(surface: Surface, wavelength: float) -> np.ndarray:
    return np.clip(1.5 - 3 * surface.footprint / wavelength, 0, 1)


def _parts(material: Material, surface: Surface) -> np.ndarray:
    index = np.clip(surface.part.astype(int) - 1, 0, len(material.colors) - 1)
    return material.colors[index]


def _plain(material: Material, surface: Surface) -> Shaded:
    texture = 1 + _texture(material, surface, 0.35, 0.12)
    return _parts(material, surface), texture


def _cloth(material: Material, surface: Surface) -> Shaded:
    folds = _texture(material, surface, 0.16, 0.3)
    return _parts(material, surface), 1 + folds


def _leaves(material: Material, surface: Surface) -> Shaded:
    """Clumps and single leaves, darker toward the bottom.

    A simulator draws leaves as pictures of twigs: its crowns are as restless as real ones.
    """
    twigs = cell_noise(surface.s / 0.3, surface.r / 0.3, material.seed + 9)
    structure = _parts(material, surface) * np.where(twigs > 0.55, 1.35, 0.65)[:, None]
    clumps = _texture(material, surface, 0.7, 0.45) + _texture(material, surface, 0.22, 0.4, 1)
    light = 1.15 - 0.45 * surface.r / surface.size[1]
    return np.clip(structure, 0.02, 1), np.clip(light * (1 + clumps), 0.15, 2)


def _grass(material: Material, surface: Surface) -> Shaded:
    texture = 1 + _texture(material, surface, 1.7, 0.2) + _texture(material, surface, 0.15, 0.35, 1)
    return _parts(material, surface), texture


def _road(material: Material, surface: Surface) -> Shaded:
    """Asphalt with lane marks; colors: asphalt.

    Options: half_width, parking (width of these lanes), dash (spacing of the marks in the middle),
    crossing (its z).
    """
    x, z = surface.points[:, 0], surface.points[:, 2]
    options = material.options
    marks = (np.abs(x) < 0.08) & (np.mod(z, options["dash"]) < 3.0)
    edge = options["half_width"] - options["parking"]
    marks |= np.abs(np.abs(x) - edge) < 0.06
    past = z - options["crossing"]
    on_crossing = (past > 0) & (past < 3.0) & (np.abs(x) < options["half_width"] - 0.4)
    marks = np.where(on_crossing, np.mod(x, 1.0) < 0.5, marks)
    marks |= (np.abs(past + 1.2) < 0.2) & (x > 0) & (x < edge)
    structure = np.where(marks[:, None], PAINT * 0.9, material.colors[0])
    stains = _texture(material, surface, 2.3, 0.16) + _texture(material, surface, 0.6, 0.1, 1)
    wear = _texture(material, surface, 0.12, 0.12, 2)
    patch = cell_noise(x / 2.5, z / 7.0, material.seed + 5) > 0.86
    hole = np.hypot(np.mod(x, 3.4) - 1.7, np.mod(z, 13.0) - 6) < 0.35
    texture = (1 + stains + wear) * np.where(patch, 0.78, 1.0) * np.where(hole, 0.55, 1.0)
    return structure, texture


def _paving(material: Material, surface: Surface) -> Shaded:
    """Slabs with joints."""
    x, z = surface.points[:, 0], surface.points[:, 2]
    joint = (np.mod(x, 0.8) < 0.06) | (np.mod(z, 0.8) < 0.06)
    slab = cell_noise(x / 0.8, z / 0.8, material.seed)
    shades = 1 + 0.25 * (slab - 0.5) * _visible(surface, 0.8)
    shades *= 1 - 0.35 * joint * _visible(surface, 0.3)
    return _parts(material, surface), shades + _texture(material, surface, 1.5, 0.12)


def _facade(material: Material, surface: Surface) -> Shaded:
    """A wall with rows of windows over a ground floor; colors: wall, trim, ground floor, door.

    Options: floor (its height), bay (distance of windows), window_width and window_height as
    shares, brick (1 or 0).
    """
    options = material.options
    wall, trim, ground, door = material.colors
    up = surface.size[1] - surface.r  # meters above the ground
    level = np.floor((up - options["ground"]) / options["floor"])
    v = np.mod(up - options["ground"], options["floor"]) / options["floor"]
    u = np.mod(surface.s, options["bay"]) / options["bay"]
    margin_u, margin_v = (1 - options["window_width"]) / 2, (1 - options["window_height"]) / 2
    inside = np.minimum(0.5 - np.abs(u - 0.5) - margin_u, 0.5 - np.abs(v - 0.5) - margin_v)
    window, frame = inside > 0.045, (inside > 0) & (inside <= 0.045)
    mullion = window & (np.abs(u - 0.5) < 0.018)
    column = np.floor(surface.s / options["bay"])
    lit = cell_noise(column, level, material.seed)
    structure = np.broadcast_to(wall, (len(surface.s), 3)).copy()
    glass = GLASS[None] * (0.7 + 1.5 * (lit[:, None] > 0.75))
    upper = (up > options["ground"]) & (surface.r > 0.9)
    structure[upper & frame] = trim
    structure[upper & window] = glass[upper & window]
    structure[upper & mullion] = trim
    below = ~(up > options["ground"])
    structure[below] = ground
    shop = below & (up > 0.5) & (up < options["ground"] - 0.7) & (np.abs(u - 0.5) < 0.4)
    is_door = cell_noise(column, np.full_like(column, -3), material.seed) < 0.3
    structure[shop] = GLASS * 0.8
    entrance = below & is_door & (np.abs(u - 0.5) < 0.25) & (up < options["ground"] - 0.6)
    structure[shop & is_door] = ground
    structure[entrance] = door
    cornice = (np.abs(up - options["ground"]) < 0.12) | (surface.r < 0.45)
    structure[cornice] = trim

    masonry = upper & ~window & ~frame | below & ~shop
    return structure, np.where(masonry, _masonry(material, surface, up), _panes(material, surface))


def _masonry(material: Material, surface: Surface, up: np.ndarray) -> np.ndarray:
    texture = 1 + _texture(material, surface, 3.0, 0.14) + _texture(material, surface, 0.5, 0.1, 1)
    streaks = smooth_noise(surface.s / 0.5, surface.r / 6.0, material.seed + 3)
    texture -= 0.18 * np.clip(streaks - 0.6, 0, 1) * 2.5
    if material.options["brick"]:
        row = np.floor(up / 0.28)
        shifted = surface.s / 0.62 + 0.5 * np.mod(row, 2)
        joint = (np.mod(up, 0.28) < 0.05) | (np.mod(shifted, 1) < 0.09)
        tone = cell_noise(shifted, row, material.seed + 4) - 0.5
        texture += (0.35 * tone - 0.25 * joint) * _visible(surface, 0.5)
    return texture


def _panes(material: Material, surface: Surface) -> np.ndarray:
    """Reflections in the glass, a different one in each pane."""
    tilt = cell_noise(surface.s / 1.1, surface.r / 1.4, material.seed + 9)
    reflection = smooth_noise(surface.s / 0.9 + 5 * tilt, surface.r / 1.6, material.seed + 10)
    return 0.7 + 1.1 * reflection


def _wall(material: Material, surface: Surface) -> Shaded:
    """Concrete panels with a coping; colors: wall, coping."""
    coping = surface.r < 0.18
    structure = np.where(coping[:, None], material.colors[1], material.colors[0])
    joint = np.mod(surface.s, 2.4) < 0.07
    texture = 1 + _texture(material, surface, 1.1, 0.2) + _texture(material, surface, 0.3, 0.12, 1)
    paint = smooth_noise(surface.s / 0.9, surface.r / 0.5, material.seed + 2) > 0.72
    return structure, texture * np.where(joint, 0.6, 1.0) * np.where(paint, 0.7, 1.0)


def _body_side(material: Material, surface: Surface) -> Shaded:
    """The flank of a vehicle's lower body; colors: paint. Options: wheel (its radius)."""
    length, height = surface.size
    radius = material.options["wheel"]
    structure = np.broadcast_to(material.colors[0], (len(surface.s), 3)).copy()
    for center in (0.19 * length, 0.79 * length):
        distance = np.hypot(surface.s - center, surface.r - (height - radius))
        structure[distance < radius] = RUBBER
        structure[distance < radius * 0.55] = 0.45
    handle = np.abs(surface.s - length / 2) < 0.03
    structure[handle & (surface.r < 0.8 * height)] *= 0.6
    shine = 1.1 - 0.35 * surface.r / height + _texture(material, surface, 0.9, 0.12)
    return structure, shine


def _body_end(material: Material, surface: Surface) -> Shaded:
    """Front or back of a lower body; colors: paint, lights."""
    width, height = surface.size
    across, down = surface.s / width, surface.r / height
    structure = np.broadcast_to(material.colors[0], (len(surface.s), 3)).copy()
    lights = (np.abs(across - 0.5) > 0.31) & (np.abs(across - 0.5) < 0.47)
    structure[lights & (down > 0.12) & (down < 0.42)] = material.colors[1]
    plate = (np.abs(across - 0.5) < 0.15) & (np.abs(down - 0.55) < 0.09)
    structure[plate] = PAINT
    structure[down > 0.74] = RUBBER * 2
    return structure, 1.1 - 0.3 * down + _texture(material, surface, 0.5, 0.1)


def _cabin(material: Material, surface: Surface) -> Shaded:
    """Windows in a frame; colors: paint.

    Options: panes (how many side by side), sill (share of the height that they reach down to), left
    and right (shares of the width by which the top is narrower).
    """
    width, height = surface.size
    options = material.options
    down = surface.r / height
    left, right = (options.get(side, 0.0) * (1 - down) for side in ("left", "right"))
    panes = options["panes"]
    across = np.mod((surface.s / width - left) / (1 - left - right) * panes, 1)
    glass = (np.abs(across - 0.5) < 0.5 - 0.05 * panes**0.5) & (down > 0.12)
    glass &= down < options["sill"]
    structure = np.where(glass[:, None], GLASS, material.colors[0])
    reflection = smooth_noise(surface.s / 0.5 + surface.r / 0.4, surface.r, material.seed)
    return structure, np.where(glass, 0.6 + 1.2 * reflection, 1.05 - 0.2 * down)


_KINDS: dict[str, Callable[[Material, Surface], Shaded]] = {
    "plain": _plain,
    "cloth": _cloth,
    "leaves": _leaves,
    "grass": _grass,
    "road": _road,
    "paving": _paving,
    "facade": _facade,
    "wall": _wall,
    "body_side": _body_side,
    "body_end": _body_end,
    "cabin": _cabin,
}
