"""Translates frames and writes the results as PNG files."""

import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import tqdm

from sflow_jax.data import input_frames
from sflow_jax.data.input_frames import InputBatch, InputFrame
from sflow_jax.pictures import write_png
from sflow_jax.sampling.job import Sampling

# tqdm's own, but frames per second also where a frame takes seconds.
_BAR_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"


def translate_missing(sampling: Sampling) -> None:
    """Translates this process's frames whose results are missing or old, with a progress bar.

    Memory does not grow with the number of frames.

    Raises:
        InputError: a file of a frame cannot be read any more.
        OSError: a result cannot be written.
    """
    missing = sampling.missing
    total = len(sampling.own_frames)
    with progress_bar(total, total - len(missing)) as bar, ThreadPoolExecutor() as pool:
        for batch, variant, pictures in translate(sampling, missing):
            paths = [sampling.paths(frame)[variant] for frame in batch.frames]
            # Compressing a picture takes longer than translating it on a GPU.
            list(pool.map(write_png, paths, np.asarray(pictures)))
            if variant == len(sampling.variants) - 1:
                bar.update(len(batch.frames))


def progress_bar(total: int, done: int) -> tqdm.tqdm:
    """A bar of frames, of which some are done already."""
    return tqdm.tqdm(
        total=total, initial=done, desc="sampling", unit="frame", bar_format=_BAR_FORMAT
    )


def translate(
    sampling: Sampling, frames: Sequence[InputFrame]
) -> Iterator[tuple[InputBatch, int, jax.Array]]:
    """Translates frames in batches; memory does not grow with their number.

    Args:
        sampling: what they are translated with.
        frames: some of its own, in its order; of a method that remembers whole clips.

    Yields:
        A batch, the number of a variant and its pictures, uint8 RGB [B, H, W, 3], of which the
        first `len(batch.frames)` count.

    Raises:
        InputError: a file of a frame cannot be read any more.
    """
    # Results are given one step late: the device computes while files are read and written.
    waiting = None
    recalled: dict[int, dict[str, Any]] = {}
    model = sampling.model
    for batch in _batches(sampling, frames):
        if sampling.begins_clip(batch.frames[0]):
            recalled = {}
        for variant in range(len(sampling.variants)):
            controls = sampling.controls(batch, variant) | recalled.get(variant, {})
            translated = model.translate(batch.label, batch.edge_image, **controls)
            recalled[variant] = model.method.recalled(translated)
            if waiting:
                yield waiting
            waiting = batch, variant, translated["picture"]
    if waiting:
        yield waiting


def _batches(sampling: Sampling, frames: Sequence[InputFrame]) -> Iterator[InputBatch]:
    """Batches of frames; one by one, in the order of clips, where the method remembers."""
    if not sampling.model.method.remembers:
        yield from input_frames.read_batches(frames, sampling.batch_sizes, sampling.read_label_map)
        return
    for size, clips in itertools.groupby(frames, key=lambda frame: frame.size):
        yield from input_frames.read_batches(list(clips), {size: 1}, sampling.read_label_map)
