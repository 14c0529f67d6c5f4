"""What Inception-v3 sees of an image: three published protocols, which give three different FIDs.

| protocol       | resize to 299x299                                      | range           |
| -------------- | ------------------------------------------------------ | --------------- |
| pytorch-fid    | bilinear, half-pixel centers, not antialiased          | 2 x / 255 - 1   |
| torch-fidelity | bilinear of TensorFlow 1: source = index * in / out    | (x - 128) / 128 |
| clean-fid      | Pillow's bicubic, antialiased, each channel in float32 | (x - 128) / 128 |

Each is named after the program whose numbers it reproduces. `on_host` comes first and works on
NumPy arrays (Pillow has no counterpart on devices), `on_device` can be jitted.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

SIDE = 299


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One way from uint8 RGB [B, H, W, 3] to float32 [B, 299, 299, 3] in about [-1, 1].

    Attributes:
        name: a key of `PROTOCOLS`.
        on_host: uint8 NumPy images to what `on_device` takes.
        on_device: the rest of the way, in JAX.
    """

    name: str
    on_host: Callable[[np.ndarray], np.ndarray]
    on_device: Callable[[jax.Array], jax.Array]

    def __call__(self, images: np.ndarray) -> jax.Array:
        """Prepares uint8 RGB images [B, H, W, 3]."""
        return self.on_device(jnp.asarray(self.on_host(images)))


def resize_bilinear(images: jax.Array, height: int, width: int) -> jax.Array:
    """Bilinear resize of [B, H, W, C] with half-pixel centers and without antialiasing.

    PyTorch's `interpolate(mode='bilinear', align_corners=False)`.
    """
    shape = (images.shape[0], height, width, images.shape[3])
    return jax.image.resize(images, shape, "linear", antialias=False)


def resize_tensorflow1(images: jax.Array, height: int, width: int) -> jax.Array:
    """Bilinear resize of [B, H, W, C] as TensorFlow 1 did it: source = index * in / out.

    `tf.compat.v1.image.resize_bilinear(align_corners=False)`; both FID's original graph and the
    Fréchet video distance use it. Coordinates are float32, as there.
    """
    for axis, size in ((1, height), (2, width)):
        images = _lerp_axis(images, axis, size)
    return images


def _lerp_axis(images: jax.Array, axis: int, size: int) -> jax.Array:
    old_size = images.shape[axis]
    position = np.arange(size, dtype=np.float32) * np.float32(old_size / size)
    low = position.astype(np.int32)
    high = np.minimum(low + 1, old_size - 1)
    fraction = np.expand_dims(position - low, tuple(range(1, images.ndim - axis)))
    first, second = jnp.take(images, low, axis), jnp.take(images, high, axis)
    return first + (second - first) * fraction


def resize_pillow(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pillow's antialiased bicubic resize, each channel on its own in float32.

    Args:
        images: uint8 [B, H, W, C].
        height: of the result.
        width: of the result.

    Returns:
        float32 [B, height, width, C], clipped to [0, 255] but not rounded.
    """
    channels = np.moveaxis(images, -1, 1).astype(np.float32)
    flat = channels.reshape(-1, *images.shape[1:3])
    resized = [Image.fromarray(x).resize((width, height), Image.Resampling.BICUBIC) for x in flat]
    stacked = np.stack([np.asarray(x) for x in resized])
    stacked = stacked.reshape(*channels.shape[:2], height, width).clip(0, 255)
    return np.ascontiguousarray(np.moveaxis(stacked, 1, -1))


def _as_pytorch_fid(images: jax.Array) -> jax.Array:
    return 2 * resize_bilinear(jnp.asarray(images, jnp.float32) / 255, SIDE, SIDE) - 1


def _as_torch_fidelity(images: jax.Array) -> jax.Array:
    return (resize_tensorflow1(jnp.asarray(images, jnp.float32), SIDE, SIDE) - 128) / 128


def _as_clean_fid(images: jax.Array) -> jax.Array:
    return (images - 128) / 128


def _unchanged(images: np.ndarray) -> np.ndarray:
    return images


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("pytorch-fid", _unchanged, _as_pytorch_fid),
        Protocol("torch-fidelity", _unchanged, _as_torch_fidelity),
        Protocol("clean-fid", lambda images: resize_pillow(images, SIDE, SIDE), _as_clean_fid),
    )
}
