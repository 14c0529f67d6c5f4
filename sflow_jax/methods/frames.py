"""From stored frames to the random changes of them that all methods train on, on the device."""

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections

from sflow_jax.methods.base import Batch
from sflow_jax.ops import augment
from sflow_jax.ops.pixels import to_float


@dataclasses.dataclass(frozen=True)
class Frames:
    """Frames as independent pictures: N = B * T of them, those of an example side by side.

    Attributes:
        image: real images in [-1, 1], float32 [N, H, W, 3].
        label: class ids, uint8 [N, H, W, 1].
        flow: from the first frame of each pair to its second, float32 [B, H, W, 2], pixels, x
            first; None for single frames.
        cg: the simulator's images, like `image`; None where they are not asked for.
        instance: ids of instances, uint16 [N, H, W, 1]; None where they are not asked for.
    """

    image: jax.Array
    label: jax.Array
    flow: jax.Array | None = None
    cg: jax.Array | None = None
    instance: jax.Array | None = None


def keys_per_frame(keys: jax.Array, num_frames: int, num_uses: int) -> list[jax.Array]:
    """Keys for several uses, each [B * num_frames], from one key per example, [B].

    The frames of an example share theirs and so change in the same way: what is left to be told
    apart is the motion between them.
    """
    keys = jax.vmap(lambda key: jax.random.split(key, num_uses))(keys)
    keys = keys[jnp.arange(len(keys)).repeat(num_frames)]
    return [keys[:, use] for use in range(num_uses)]


def augmented_frames(
    batch: Batch, flip_keys: jax.Array, zoom_keys: jax.Array, config: ml_collections.ConfigDict
) -> Frames:
    """Unpacks, zooms and mirrors stored frames.

    Args:
        batch: `image` uint8 [B, T, H, W, 3], `label` uint8 [B, T, H, W, 1] and, if they are wanted,
            `flow` [B, H, W, 2] of pairs, `cg` like `image` and `instance` uint16
            [B, T, H, W, 1].
        flip_keys: from `keys_per_frame`.
        zoom_keys: likewise.
        config: the whole config.
    """
    num_frames = batch["image"].shape[1]
    pictures = {key: to_float(_as_frames(batch[key])) for key in ("image", "cg") if key in batch}
    ids = {key: _as_frames(batch[key]) for key in ("label", "instance") if key in batch}
    flow = batch["flow"].astype(jnp.float32) if "flow" in batch else None
    if config.augmentation.zoom:
        zoom = augment.random_zooms(zoom_keys, config.augmentation.zoom)
        pictures = {key: augment.zoom_image(x, zoom) for key, x in pictures.items()}
        ids = {key: augment.zoom_labels(x, zoom) for key, x in ids.items()}
        if flow is not None:
            flow = augment.zoom_flow(flow, jax.tree.map(lambda x: x[::num_frames], zoom))
    if config.augmentation.flip:
        flips = augment.random_flips(flip_keys)
        pictures = {key: augment.flip_horizontally(x, flips) for key, x in pictures.items()}
        ids = {key: augment.flip_horizontally(x, flips) for key, x in ids.items()}
        if flow is not None:
            flow = augment.flip_flow(flow, flips[::num_frames])
    return Frames(flow=flow, **pictures, **ids)


def _as_frames(x: jax.Array) -> jax.Array:
    """[B, T, H, W, C] to [B * T, H, W, C]."""
    return x.reshape(-1, *x.shape[2:])
