"""Edges of CG frames beside those of the training images.

The generator has learned to fill in edges of the density that photographs have. CG frames are
flatter: at the same threshold they have fewer, and what the generator then draws is flatter, too.
"""

import dataclasses
import pathlib
from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np

from sflow_jax.data import images
from sflow_jax.data.input_frames import InputFrame
from sflow_jax.data.pipeline import Source
from sflow_jax.data.prepared import open_dataset
from sflow_jax.inference import TrainedModel
from sflow_jax.ops.laplacian import laplacian_edges
from sflow_jax.ops.pixels import to_float

_MOST_IMAGES = 32
_SIMILAR = 1.25  # a factor that the same street has at another time of day


@dataclasses.dataclass(frozen=True)
class EdgeDensity:
    """Shares of pixels that are edges at `threshold`, means over some images.

    Attributes:
        threshold: of the run, `edges.threshold`.
        quantile: of the run or the user, `edges.quantile`, which replaces the threshold; or None.
        cg: of the CG frames.
        training: of the training images; None where they are gone.
        matters: whether what the generator sees depends on the threshold.
    """

    threshold: float
    quantile: float | None
    cg: float
    training: float | None
    matters: bool

    @property
    def proposal(self) -> float | None:
        """The quantile at which CG frames have as many edges as training images, if they differ."""
        if self.quantile is not None or self.training is None or not self.matters:
            return None
        low, high = sorted((self.cg, self.training))
        return round(1 - self.training, 3) if high > _SIMILAR * low else None

    def describe(self) -> str:
        """A line for people."""
        at = f"at edges.threshold {self.threshold:g}"
        text = f"edges: {100 * self.cg:.1f} % of the pixels of CG frames"
        if self.training is None:
            return f"{text} {at}; the training images are not here to compare"
        text += f", {100 * self.training:.1f} % of training images {at}"
        if self.quantile is not None:
            return f"{text}; edges.quantile {self.quantile:g} makes both {1 - self.quantile:.0%}"
        if not self.matters:
            return f"{text}; DNED of this run sees the frames themselves"
        if self.proposal is None:
            return text
        return f"{text}; --edge_quantile {self.proposal:g} gives CG frames as many"


def compare_edges(model: TrainedModel, frames: list[InputFrame]) -> EdgeDensity:
    """Measures some of the frames and of the training images, evenly chosen.

    Raises:
        InputError: a frame or the dataset of the run is damaged.
    """
    config, dataset = model.config, pathlib.Path(model.dataset)
    training = None
    if model.dataset and dataset.is_dir():
        training = _mean_density(_some_images(open_dataset(dataset).source("train")), model)
    chosen = frames[:: max(1, len(frames) // _MOST_IMAGES)][:_MOST_IMAGES]
    cg = _mean_density((images.read_color(frame.edges) for frame in chosen if frame.edges), model)
    matters = config.method == "sflow" and (
        config.generator.edges == "laplacian"
        or (config.generator.edges == "dned" and config.dned.input == "edges")
    )
    return EdgeDensity(config.edges.threshold, config.edges.quantile, cg, training, matters)


def _some_images(source: Source) -> Iterable[np.ndarray]:
    count = min(len(source), _MOST_IMAGES)
    return (source[i * len(source) // count]["image"][0] for i in range(count))


def _mean_density(pictures: Iterable[np.ndarray], model: TrainedModel) -> float:
    threshold = model.config.edges.threshold
    maps = (
        laplacian_edges(to_float(jnp.asarray(picture[None])), threshold) for picture in pictures
    )
    return float(np.mean([edge_map.mean() for edge_map in maps]))
