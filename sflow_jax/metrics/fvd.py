"""The Fréchet video distance: the Fréchet distance between I3D's logits of real and fake clips.

Unterthiner et al., "Towards Accurate Generative Models of Video: A New Metric & Challenges" (2018),
in the protocol of its program, google-research's `frechet_video_distance`: clips are resized to
224x224 without antialiasing as TensorFlow 1 did it, scaled to [-1, 1], and seen by I3D, whose
logits (not the pooled features before them) are averaged over time. The distance depends on the
length of the clips and on their number: compare only numbers that share both.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sflow_jax.errors import InputError
from sflow_jax.metrics.feature_statistics import collect
from sflow_jax.metrics.frechet import frechet_distance
from sflow_jax.metrics.inception_input import resize_tensorflow1
from sflow_jax.pretrained import i3d

CLIP_FRAMES = 16

Embed = Callable[[np.ndarray], jax.Array]
"""A network: clips, uint8 RGB [B, T, H, W, 3], to features [B, d]."""


def cut_clips(
    frames: Iterable[np.ndarray], num_frames: int = CLIP_FRAMES, name: str = "video"
) -> Iterator[np.ndarray]:
    """Cuts a video into consecutive clips that do not overlap; a rest at its end is left out.

    Args:
        frames: uint8 RGB [H, W, 3] in order; never more than one clip of them is kept.
        num_frames: of a clip, at least 9.
        name: of the video, for messages.

    Yields:
        uint8 [num_frames, H, W, 3].

    Raises:
        InputError: clips are too short for I3D, or the video is shorter than a clip.
    """
    if num_frames < i3d.MIN_FRAMES:
        raise InputError(f"found clips of {num_frames} frames, expected at least {i3d.MIN_FRAMES}")
    frames, found = iter(frames), 0
    while clip := list(itertools.islice(frames, num_frames)):
        found += len(clip)
        if len(clip) == num_frames:
            yield np.stack(clip)
    if found < num_frames:
        raise InputError(f"{name}: found {found} frames, expected at least {num_frames}")


def prepare(clips: jax.Array) -> jax.Array:
    """What I3D sees of clips.

    Args:
        clips: RGB [B, T, H, W, 3] in [0, 255], uint8 or float.

    Returns:
        float32 [B, T, 224, 224, 3] in [-1, 1].
    """
    batch_size, num_frames = clips.shape[:2]
    frames = jnp.asarray(clips, jnp.float32).reshape(-1, *clips.shape[2:])
    frames = 2 * resize_tensorflow1(frames, i3d.SIDE, i3d.SIDE) / 255 - 1
    return frames.reshape(batch_size, num_frames, *frames.shape[1:])


def embed_logits(network_variables: dict[str, Any]) -> Embed:
    """I3D's logits of clips as `Embed`, compiled once for every shape of clips.

    Args:
        network_variables: from `i3d.load`.
    """
    compute = jax.jit(lambda weights, clips: i3d.logits(weights, prepare(clips)))
    return functools.partial(compute, network_variables)


def clip_features(
    clip_batches: Iterable[np.ndarray], embed: Embed, num_frames: int = CLIP_FRAMES
) -> Iterator[np.ndarray]:
    """Computes the features of clips that all have the same length.

    Args:
        clip_batches: uint8 RGB [B, T, H, W, 3] each.
        embed: computes the features.
        num_frames: T, at least 9.

    Yields:
        float32 [B, d], as `feature_statistics.collect` takes them.

    Raises:
        InputError: clips have another length or are too short for I3D.
    """
    for clips in clip_batches:
        if clips.shape[1] != num_frames:
            raise InputError(f"found a clip of {clips.shape[1]} frames, expected {num_frames}")
        yield np.asarray(embed(clips))


def fvd(
    real_clips: Iterable[np.ndarray],
    fake_clips: Iterable[np.ndarray],
    embed: Embed,
    num_frames: int = CLIP_FRAMES,
) -> float:
    """The distance between two sets of clips; 0 is best.

    Several hosts each bring clips of their own.

    Args:
        real_clips: batches of clips, uint8 RGB [B, T, H, W, 3]; memory does not grow with them.
        fake_clips: likewise.
        embed: `embed_logits` of I3D's weights; with another network this is no FVD.
        num_frames: T, at least 9.

    Raises:
        InputError: clips have another length or are too short for I3D, or there are fewer than two.
    """
    real, fake = (
        collect(clip_features(clips, embed, num_frames)).gaussian
        for clips in (real_clips, fake_clips)
    )
    return frechet_distance(real, fake)
