"""Translates frames and writes the results as PNG files."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import tqdm

from sflow_jax.data import input_frames
from sflow_jax.data.input_frames import InputFrame
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
    missing = [frame for frame in sampling.frames if not sampling.is_done(frame)]
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
        for batch in input_frames.read_batches(missing, sampling.batch_sizes, model.class_table):
            for variant in range(len(sampling.variants)):
                controls = sampling.controls(batch, variant)
                pictures = model.translate(batch.label, batch.edge_image, **controls)["picture"]
                if waiting:
                    _write(pool, sampling, *waiting, bar)
                waiting = batch.frames, variant, pictures
        if waiting:
            _write(pool, sampling, *waiting, bar)


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
