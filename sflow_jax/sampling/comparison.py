"""Results beside what they were made of: label, edge frame, edges into G, result, real image."""

from collections.abc import Iterator, Sequence

import numpy as np

from sflow_jax.data import images, input_frames
from sflow_jax.data.input_frames import InputFrame
from sflow_jax.pictures import edges_to_rgb, grid
from sflow_jax.sampling.job import Sampling

_GRID_ROWS = 8
_WIDTH = 512  # larger pictures are shrunk to this many pixels
_EDGE_CAPTIONS = {"cg": ["CG frame"], "image": ["real frame"], "none": []}


def draw_grid(sampling: Sampling) -> np.ndarray:
    """Draws the first frames, which are translated already, one per row.

    Returns:
        uint8 RGB; all pictures have the first frame's size, or less.
    """
    frames = sampling.frames[:_GRID_ROWS]
    has_real = _has_real(sampling, frames)
    rows = {frame: row for frame, row in _rows(sampling, frames, has_real)}
    return grid(
        [_shrink(rows[frame], frames[0].size) for frame in frames], _captions(sampling, has_real)
    )


def draw_frames(sampling: Sampling, frames: Sequence[InputFrame]) -> Iterator[np.ndarray]:
    """Draws frames of one size, which are translated already, one at a time.

    Yields:
        uint8 RGB, all of one size.
    """
    has_real = _has_real(sampling, frames)
    captions = _captions(sampling, has_real)
    for frame, row in _rows(sampling, frames, has_real):
        yield grid([_shrink(row, frame.size)], captions)


def _has_real(sampling: Sampling, frames: Sequence[InputFrame]) -> bool:
    """Whether there are real images to show that are not shown as edge frames."""
    return sampling.edge_source != "image" and all(frame.real for frame in frames)


def _rows(
    sampling: Sampling, frames: Sequence[InputFrame], has_real: bool
) -> Iterator[tuple[InputFrame, list[np.ndarray]]]:
    model = sampling.model
    for batch in input_frames.read_batches(frames, sampling.batch_sizes, model.class_table):
        edge_maps = [
            np.asarray(model.edge_map(batch.label, batch.edge_image, weights))
            for weights in sampling.weights
        ]
        for index, frame in enumerate(batch.frames):
            row = [model.class_table.colorize(batch.label[index, ..., 0])]
            row += [batch.edge_image[index]] * len(_EDGE_CAPTIONS[sampling.edge_source])
            for edge_map, path in zip(edge_maps, sampling.paths(frame), strict=True):
                row += [edges_to_rgb(edge_map[index]), images.read_color(path)]
            if has_real and frame.real:
                row.append(images.read_color(frame.real))
            yield frame, row


def _captions(sampling: Sampling, has_real: bool) -> list[str]:
    num_variants = len(sampling.weights)
    captions = ["label", *_EDGE_CAPTIONS[sampling.edge_source]]
    if num_variants == 1:
        captions += ["edges into G", "generated"]
    else:
        captions += [
            f"{kind} {k:02d}" for k in range(num_variants) for kind in ("edges", "variant")
        ]
    return [*captions, "real"] if has_real else captions


def _shrink(row: Sequence[np.ndarray], size: tuple[int, int]) -> list[np.ndarray]:
    scale = min(1, _WIDTH / size[1])
    height, width = (max(1, round(side * scale)) for side in size)
    return [images.resize_color(picture, height, width) for picture in row]
