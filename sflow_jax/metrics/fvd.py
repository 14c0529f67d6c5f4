"""The Fréchet video distance: the Fréchet distance between I3D's logits of real and fake clips.

Unterthiner et al., "Towards Accurate Generative Models of Video: A New Metric & Challenges" (2018),
in the protocol of its program, google-research's `frechet_video_distance`: clips are resized to
224x224 without antialiasing as TensorFlow 1 did it, scaled to [-1, 1], and seen by I3D, whose
logits (not the pooled features before them) are averaged over time. The distance depends on the
length of the clips and on their number: compare only numbers that share both.

    extractor = fvd.i3d_extractor()
    fvd.fvd(batches_of_real_clips, batches_of_generated_clips, extractor)
"""

import itertools
import os
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from sflow_jax.errors import InputError
from sflow_jax.metrics.feature_statistics import FeatureExtractor, collect
from sflow_jax.metrics.frechet import frechet_distance
from sflow_jax.metrics.inception_input import InputProtocol, resize_tensorflow1
from sflow_jax.pretrained import i3d

CLIP_FRAMES = 16


def cut_clips(frames: Iterable[np.ndarray], num_frames: int = CLIP_FRAMES) -> Iterator[np.ndarray]:
    """Cuts a video into consecutive clips that do not overlap; a rest at its end is left out.

    Args:
        frames: uint8 RGB [H, W, 3] in order; never more than one clip of them is kept. Fewer than a
            clip give none.
        num_frames: of a clip, at least 9.

    Yields:
        uint8 [num_frames, H, W, 3].

    Raises:
        InputError: clips are too short for I3D.
    """
    if num_frames < i3d.MIN_FRAMES:
        raise InputError(f"found clips of {num_frames} frames, expected at least {i3d.MIN_FRAMES}")
    frames = iter(frames)
    while len(clip := list(itertools.islice(frames, num_frames))) == num_frames:
        yield np.stack(clip)


def prepare_clips(clips: jax.Array) -> jax.Array:
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


PROTOCOL = InputProtocol("frechet_video_distance", lambda clips: clips, prepare_clips)


def i3d_extractor(
    cache_dir: str | os.PathLike | None = None, batch_size: int = 8
) -> FeatureExtractor:
    """Loads I3D for the logits [N, 400] of clips of any one length.

    Args:
        cache_dir: the folder of the weights; by default $SFLOW_CACHE or ~/.cache/sflow_jax.
        batch_size: clips at a time, over all local devices.

    Raises:
        InputError: the weights are absent; the message has the command that gets them.
    """
    return FeatureExtractor(i3d.logits, i3d.load(cache_dir), PROTOCOL, batch_size)


def fvd(
    real_clips: Iterable[np.ndarray],
    fake_clips: Iterable[np.ndarray],
    extractor: FeatureExtractor,
    num_frames: int = CLIP_FRAMES,
) -> float:
    """The distance between two sets of clips; 0 is best.

    Several hosts each bring clips of their own.

    Args:
        real_clips: batches of clips, uint8 RGB [B, T, H, W, 3]; memory does not grow with them.
        fake_clips: likewise.
        extractor: from `i3d_extractor`; with another network this is no FVD.
        num_frames: T, at least 9.

    Raises:
        InputError: clips have another length or are too short for I3D, or there are fewer than two.
    """
    real, fake = (
        collect(extractor.stream(_of_one_length(clips, num_frames))).gaussian
        for clips in (real_clips, fake_clips)
    )
    return frechet_distance(real, fake)


def _of_one_length(clip_batches: Iterable[np.ndarray], num_frames: int) -> Iterator[np.ndarray]:
    for clips in clip_batches:
        if clips.shape[1] != num_frames:
            raise InputError(f"found a clip of {clips.shape[1]} frames, expected {num_frames}")
        yield clips
