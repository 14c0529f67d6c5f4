"""Shows results next to their input: label, edge frame, edges into G, result, real image."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sflow_jax.data import images, input_frames
from sflow_jax.data.input_frames import InputFrame
from sflow_jax.pictures import edges_to_rgb, grid
from sflow_jax.sampling.job import Sampling

_GRID_ROWS = 8
_WIDTH = 512  # larger pictures are shrunk to this many pixels
_EDGE_CAPTIONS = {"cg": ["CG frame"], "image": ["real frame"], "none": []}


def draw_grid(sampling: Sampling) -> np.ndarray:
    """Draws the first translated frames, one per row.

    Returns:
        uint8 RGB; all pictures have the first frame's size, or less.
    """
    frames = sampling.frames[:_GRID_ROWS]
    drawn = dict(_rows(sampling, frames))
    rows = [drawn[frame] for frame in frames]
    return grid([_shrink(row, frames[0].size) for row in rows], list(rows[0]))


def draw_frames(sampling: Sampling, frames: Sequence[InputFrame]) -> Iterator[np.ndarray]:
    """Draws translated frames of one size, one at a time.

    Yields:
        uint8 RGB, all of one size.
    """
    for frame, row in _rows(sampling, frames):
        yield grid([_shrink(row, frame.size)], list(row))


def _has_real(sampling: Sampling, frames: Sequence[InputFrame]) -> bool:
    """Whether there are real images that are not already shown as edge frames."""
    return sampling.edge_source != "image" and all(frame.real for frame in frames)


def _rows(
    sampling: Sampling, frames: Sequence[InputFrame]
) -> Iterator[tuple[InputFrame, dict[str, np.ndarray]]]:
    """The pictures of each frame by their captions."""
    model, has_real = sampling.model, _has_real(sampling, frames)
    names = [f" {k:02d}" for k in range(len(sampling.variants))]
    edges, generated = "edges{}", "variant{}"
    if len(names) == 1:
        edges, generated = "edges into G", "generated"
    for batch in input_frames.read_batches(frames, sampling.batch_sizes, sampling.read_label_map):
        edge_maps = [
            model.edge_map(batch.label, batch.edge_image, **sampling.controls(batch, variant))
            for variant in range(len(sampling.variants))
        ]
        for index, frame in enumerate(batch.frames):
            row = {"label": model.class_table.colorize(batch.label[index, ..., 0])}
            row |= dict.fromkeys(_EDGE_CAPTIONS[sampling.edge_source], batch.edge_image[index])
            for name, edge_map, path in zip(names, edge_maps, sampling.paths(frame), strict=True):
                if edge_map is not None:
                    row[edges.format(name)] = edges_to_rgb(np.asarray(edge_map[index]))
                row[generated.format(name)] = images.read_color(path)
            if has_real and frame.real:
                row["real"] = images.read_color(frame.real)
            yield frame, row


def _shrink(row: Mapping[str, np.ndarray], size: tuple[int, int]) -> list[np.ndarray]:
    scale = min(1, _WIDTH / size[1])
    height, width = (max(1, round(side * scale)) for side in size)
    return [images.resize_color(picture, height, width) for picture in row.values()]
