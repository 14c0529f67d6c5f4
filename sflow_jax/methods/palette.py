"""Palettes: the mean color of every class in an image.

Label and edge maps leave open whether the sky is blue or white and a street in shade or in the sun,
so that a generator without more to go by paints a mean of all, or several colors into one thing.
Told the colors of the image in training, it learns to obey them; in use they are those of an image
of the training split, one for each variant and the same in all frames of a clip.
"""

import jax
import jax.numpy as jnp


def class_colors(label_map: jax.Array, image: jax.Array, num_frames: int = 1) -> jax.Array:
    """The mean color of each class, [N, C, 3]; 0 for a class that an image lacks.

    Args:
        label_map: one-hot, [N, H, W, C].
        image: [N, H, W, 3] in [-1, 1].
        num_frames: so many images after another are frames of one clip and get the colors of all.
    """
    label_map, image = (x.reshape(-1, num_frames, *x.shape[1:]) for x in (label_map, image))
    sums = jnp.einsum("nthwc,nthwk->nck", label_map, image)
    colors = sums / jnp.maximum(label_map.sum((1, 2, 3)), 1)[..., None]
    return colors.repeat(num_frames, axis=0)


def paint(label_map: jax.Array, palette: jax.Array) -> jax.Array:
    """Gives every pixel the color of its class.

    Args:
        label_map: one-hot, [N, H, W, C].
        palette: [N, C, 3], or [C, 3] for all.

    Returns:
        [N, H, W, 3].
    """
    palette = jnp.broadcast_to(palette, (label_map.shape[0], *palette.shape[-2:]))
    return jnp.einsum("nhwc,nck->nhwk", label_map, palette)
