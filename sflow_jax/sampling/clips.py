"""Makes videos of the translated frames of clips."""

import itertools
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np

from sflow_jax import video
from sflow_jax.data import images
from sflow_jax.data.input_frames import Clip
from sflow_jax.sampling import comparison
from sflow_jax.sampling.job import Sampling

VIDEO_FILE = "video.mp4"
COMPARISON_FILE = "comparison.mp4"


def encode_missing(sampling: Sampling) -> None:
    """Makes this process's videos of translated clips that are missing, or older than their frames.

    Memory does not grow with the number of frames.

    Raises:
        InputError: a video cannot be encoded.
    """
    for clip in sampling.own_clips:
        for path, sources, frames in _videos(sampling, clip):
            length = len(clip.frames), sampling.settings.fps
            if not video.is_current(path, sources, *length):
                video.encode(path, frames, *length)


def _videos(
    sampling: Sampling, clip: Clip
) -> Iterator[tuple[pathlib.Path, Iterable[pathlib.Path], Iterable[np.ndarray]]]:
    """Each video of a clip: its path, the files that it shows, and its frames, not yet read."""
    results = [sampling.paths(frame) for frame in clip.frames]
    for folder, paths in zip(sampling.folders, zip(*results, strict=True), strict=True):
        yield folder / clip.name / VIDEO_FILE, paths, map(images.read_color, paths)
    if sampling.settings.grid:
        inputs = [frame.files for frame in clip.frames]
        yield (
            sampling.settings.output / clip.name / COMPARISON_FILE,
            itertools.chain(*results, *inputs),
            comparison.draw_frames(sampling, clip.frames),
        )
