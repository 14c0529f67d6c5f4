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
    """Translates the frames whose results are missing or old, with a progress bar.

    Memory does not grow with the number of frames.

    Raises:
        InputError: a file of a frame cannot be read any more.
        OSError: a result cannot be written.
    """
    missing = sampling.missing
    total = len(sampling.frames)
    model = sampling.model
    progress = tqdm.tqdm(
        total=total,
        initial=total - len(missing),
        desc="sampling",
        unit="frame",
        bar_format=_BAR_FORMAT,
    )
    with progress as bar, ThreadPoolExecutor() as pool:
        # Results are fetched one step late: the device computes while files are read and written.
        waiting = None
        recalled: dict[int, dict[str, Any]] = {}
        for batch in _batches(sampling, missing):
            if sampling.begins_clip(batch.frames[0]):
                recalled = {}
            for variant in range(len(sampling.variants)):
                controls = sampling.controls(batch, variant) | recalled.get(variant, {})
                translated = model.translate(batch.label, batch.edge_image, **controls)
                recalled[variant] = model.method.recalled(translated)
                if waiting:
                    _write(pool, sampling, *waiting, bar)
                waiting = batch.frames, variant, translated["picture"]
        if waiting:
            _write(pool, sampling, *waiting, bar)


def _batches(sampling: Sampling, frames: Sequence[InputFrame]) -> Iterator[InputBatch]:
    """Batches of frames; one by one, in the order of clips, where the method remembers."""
    class_table, batch_sizes = sampling.model.class_table, sampling.batch_sizes
    if not sampling.model.method.remembers:
        yield from input_frames.read_batches(frames, batch_sizes, class_table)
        return
    for size, clips in itertools.groupby(frames, key=lambda frame: frame.size):
        yield from input_frames.read_batches(list(clips), {size: 1}, class_table)


def _write(
    pool: ThreadPoolExecutor,
    sampling: Sampling,
    frames: Sequence[InputFrame],
    variant: int,
    pictures: jax.Array,
    bar: tqdm.tqdm,
) -> None:
    paths = [sampling.paths(frame)[variant] for frame in frames]
    # Compressing a picture takes longer than translating it on a GPU.
    list(pool.map(write_png, paths, np.asarray(pictures)))
    if variant == len(sampling.variants) - 1:
        bar.update(len(frames))
