"""Random augmentation of training examples, on the device.

Every example has a random key of its own, so that an update does not depend on how the batch is
split over devices.
"""

import flax.struct
import jax
import jax.numpy as jnp

from sflow_jax.ops import arguments

_DROPOUT_CELL = 4  # pixels; edges vanish in pieces, as they do between a CG and a real frame
_NARROWEST_WINDOW = 16  # pixels; the perceptual network halves them four times


def example_keys(key: jax.Array, batch_size: int, axis_name: str | None) -> jax.Array:
    """Derives one random key for each example on this device.

    Args:
        key: the key of this step, the same on every device.
        batch_size: examples on this device.
        axis_name: the mapped axis over devices, or None outside of one.

    Returns:
        Keys [batch_size], distinct over all devices.
    """
    arguments.check_array("key", key, "", "key")
    first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * batch_size
    return jax.vmap(lambda i: jax.random.fold_in(key, first + i))(jnp.arange(batch_size))


def mix_examples(keys: jax.Array, x: jax.Array, other: jax.Array, share: float) -> jax.Array:
    """Takes each example from `other`, with the probability `share`, or else from `x`.

    Args:
        keys: [B].
        x: [B, ...].
        other: likewise.
        share: between 0 and 1.
    """
    arguments.check_array("keys", keys, "B", "key")
    if x.shape != other.shape:
        raise ValueError(f"found x {list(x.shape)} and other {list(other.shape)}, expected equal")
    takes_other = jax.vmap(lambda key: jax.random.bernoulli(key, share))(keys)
    return jnp.where(takes_other.reshape(-1, *(1,) * (x.ndim - 1)), other, x)


def random_flips(keys: jax.Array) -> jax.Array:
    """Draws which examples are mirrored: bool [B] from keys [B]."""
    arguments.check_array("keys", keys, "B", "key")
    return jax.vmap(jax.random.bernoulli)(keys)


def flip_horizontally(x: jax.Array, flips: jax.Array) -> jax.Array:
    """Mirrors those examples of [B, H, W, C] for which `flips` [B] is true."""
    arguments.check_array("x", x, "B H W C", "real")
    arguments.check_array("flips", flips, "B", "bool")
    return jnp.where(flips[:, None, None, None], x[:, :, ::-1], x)


def flip_flow(flow: jax.Array, flips: jax.Array) -> jax.Array:
    """Mirrors the flow [B, H, W, 2] of mirrored frames: its x component changes sign."""
    arguments.check_array("flow", flow, "B H W 2", "float")
    arguments.check_array("flips", flips, "B", "bool")
    mirrored = flow[:, :, ::-1] * jnp.array([-1, 1], flow.dtype)
    return jnp.where(flips[:, None, None, None], mirrored, flow)


@flax.struct.dataclass
class Zoom:
    """A crop of each example, which is resized to the size of the whole.

    Attributes:
        factor: by which the crop is enlarged, at least 1, [B].
        offset: row and column of the crop's upper left corner, [B, 2]; 0 puts the crop at the
            top or left, 1 at the bottom or right.
    """

    factor: jax.Array
    offset: jax.Array


def random_zooms(keys: jax.Array, max_zoom: float) -> Zoom:
    """Draws a crop for each example: keys [B], factors uniform in [1, 1 + max_zoom]."""
    arguments.check_array("keys", keys, "B", "key")
    draws = jax.vmap(lambda key: jax.random.uniform(key, (3,)))(keys)
    return Zoom(1 + max_zoom * draws[:, 0], draws[:, 1:])


def zoom_image(image: jax.Array, zoom: Zoom) -> jax.Array:
    """Crops float images [B, H, W, C] and resizes the crops to [B, H, W, C], bilinearly."""
    arguments.check_array("image", image, "B H W C", "float")
    rows, columns = _source_positions(image, zoom)
    return jax.vmap(lambda x, i, j: _interpolate(_interpolate(x, i, 0), j, 1))(image, rows, columns)


def zoom_labels(ids: jax.Array, zoom: Zoom) -> jax.Array:
    """Crops maps of ids [B, H, W, C] and resizes the crops, each pixel to the nearest id."""
    arguments.check_array("ids", ids, "B H W C", "integer")
    rows, columns = (jnp.rint(p).astype(jnp.int32) for p in _source_positions(ids, zoom))
    return jax.vmap(lambda x, i, j: x[i][:, j])(ids, rows, columns)


def zoom_flow(flow: jax.Array, zoom: Zoom) -> jax.Array:
    """Crops and resizes the flow [B, H, W, 2] with its frames: motions grow by the factor."""
    arguments.check_array("flow", flow, "B H W 2", "float")
    return zoom_image(flow, zoom) * zoom.factor[:, None, None, None]


def _source_positions(image: jax.Array, zoom: Zoom) -> tuple[jax.Array, jax.Array]:
    """Rows [B, H] and columns [B, W] that the pixels of the zoomed picture come from."""
    arguments.check_array("zoom.factor", zoom.factor, "B", "float")
    arguments.check_array("zoom.offset", zoom.offset, "B 2", "float")
    positions = []
    for axis in (1, 2):
        side = image.shape[axis]
        length = side / zoom.factor
        corner = zoom.offset[:, axis - 1] * (side - length)
        centers = (jnp.arange(side) + 0.5) / side
        positions.append(jnp.clip(corner[:, None] + centers * length[:, None] - 0.5, 0, side - 1))
    rows, columns = positions
    return rows, columns


def _interpolate(x: jax.Array, positions: jax.Array, axis: int) -> jax.Array:
    """Interpolates [H, W, C] linearly at positions along an axis."""
    below = jnp.floor(positions).astype(jnp.int32)
    above = jnp.minimum(below + 1, x.shape[axis] - 1)
    share = jnp.expand_dims(positions - below, (1 - axis, 2))
    return (1 - share) * jnp.take(x, below, axis) + share * jnp.take(x, above, axis)


def random_shifts(keys: jax.Array, num_shifts: int) -> jax.Array:
    """Draws rows and columns 0 ... num_shifts - 1: int32 [B, 2] from keys [B]."""
    arguments.check_array("keys", keys, "B", "key")
    return jax.vmap(lambda key: jax.random.randint(key, (2,), 0, num_shifts))(keys)


def shift(x: jax.Array, shifts: jax.Array, num_shifts: int) -> jax.Array:
    """Moves each example, and reflects it at the borders that come into view.

    Args:
        x: [B, H, W, C].
        shifts: from `random_shifts`; (num_shifts // 2, num_shifts // 2) leaves it where it is.
        num_shifts: how many shifts there are along each axis, fewer than H and W.
    """
    arguments.check_array("x", x, "B H W C", "float")
    if num_shifts == 1:
        return x
    before = num_shifts // 2
    margin = (before, num_shifts - 1 - before)
    padded = jnp.pad(x, ((0, 0), margin, margin, (0, 0)), mode="reflect")
    return jax.vmap(lambda y, start: jax.lax.dynamic_slice(y, (*start, 0), x.shape[1:]))(
        padded, shifts
    )


def random_windows(keys: jax.Array) -> jax.Array:
    """Draws where windows begin: float32 [B] in [0, 1) from keys [B]; 0 is at the left."""
    arguments.check_array("keys", keys, "B", "key")
    return jax.vmap(jax.random.uniform)(keys)


def window_width(width: int, share: float) -> int:
    """Columns of a window that is `share` of an image's width, at least 16 or all there are."""
    return max(round(share * width), min(width, _NARROWEST_WINDOW))


def cut_window(x: jax.Array, begins: jax.Array, share: float) -> jax.Array:
    """Cuts a window of full height out of each example.

    Args:
        x: [B, H, W, C].
        begins: from `random_windows`; every column is as likely to be the first of a window.
        share: of the width; 1 takes `x` as it is.

    Returns:
        [B, H, W', C], W' being `window_width(W, share)`.
    """
    arguments.check_array("x", x, "B H W C", "float")
    arguments.check_array("begins", begins, "B", "float")
    height, width, channels = x.shape[1:]
    size = (height, window_width(width, share), channels)
    if size[1] == width:
        return x
    firsts = jnp.floor(begins * (width - size[1] + 1)).astype(jnp.int32)
    return jax.vmap(lambda y, first: jax.lax.dynamic_slice(y, (0, first, 0), size))(x, firsts)


def random_threshold_scales(keys: jax.Array, jitter: float) -> jax.Array:
    """Log-uniform factors [B, 1, 1, 1] in [1 / (1 + jitter), 1 + jitter] for the edge threshold."""
    arguments.check_array("keys", keys, "B", "key")
    logs = jax.vmap(lambda key: jax.random.uniform(key, minval=-1.0))(keys)
    return jnp.exp(logs * jnp.log1p(jitter))[:, None, None, None]


def drop_edges(keys: jax.Array, edge_map: jax.Array, max_rate: float) -> jax.Array:
    """Removes edges in cells of 4x4 pixels.

    Args:
        keys: [B].
        edge_map: [B, H, W, 1].
        max_rate: each image loses a share drawn uniformly from [0, max_rate] of its cells.

    Returns:
        Edge maps [B, H, W, 1].
    """
    arguments.check_array("keys", keys, "B", "key")
    arguments.check_array("edge_map", edge_map, "B H W 1", "float")
    height, width = edge_map.shape[1:3]
    cells = (-(-height // _DROPOUT_CELL), -(-width // _DROPOUT_CELL), 1)

    def keep(key: jax.Array) -> jax.Array:
        rate_key, cell_key = jax.random.split(key)
        rate = max_rate * jax.random.uniform(rate_key)
        kept = jax.random.uniform(cell_key, cells) >= rate
        kept = kept.repeat(_DROPOUT_CELL, 0).repeat(_DROPOUT_CELL, 1)
        return kept[:height, :width]

    return edge_map * jax.vmap(keep)(keys)


def blur_edges(keys: jax.Array, edge_map: jax.Array, max_amount: float) -> jax.Array:
    """Mixes each edge map with its 3x3 binomial blur.

    Args:
        keys: [B].
        edge_map: [B, H, W, C]; images can be blurred in the same way.
        max_amount: the share of the blurred map is drawn uniformly from [0, max_amount].

    Returns:
        Edge maps [B, H, W, C].
    """
    arguments.check_array("keys", keys, "B", "key")
    arguments.check_array("edge_map", edge_map, "B H W C", "float")
    amount = jax.vmap(jax.random.uniform)(keys)[:, None, None, None] * max_amount
    padded = jnp.pad(edge_map, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    blurred = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 16
    return edge_map + amount * (blurred - edge_map)
