"""What is measured of the examples of a dataset, at the size that training sees."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import tqdm

from sflow_jax.data import example, labels, workers
from sflow_jax.data.builder import ExampleBuilder
from sflow_jax.methods.edges import clean_edges
from sflow_jax.ops.laplacian import laplacian_edges
from sflow_jax.ops.pixels import to_float
from sflow_jax.survey.tolerant import Tolerant

_NUM_SCENES = 4  # that the report shows, of the first split


@dataclasses.dataclass(frozen=True)
class Measures:
    """What is known of one example.

    Attributes:
        name: of the example.
        pixels: how many have each id, int64 [256].
        edges: share of the real frames' pixels whose Laplacian is above `edges.threshold`.
        cg_edges: the same of the CG frames; None without these.
        motion: median and 99th percentile of the length of the flow, pixels; None without flow.
        digest: of the first real frame: equal pictures have equal ones.
    """

    name: str
    pixels: np.ndarray
    edges: float
    cg_edges: float | None
    motion: tuple[float, float] | None
    digest: bytes


@dataclasses.dataclass(frozen=True)
class Survey:
    """What is known of a dataset.

    Attributes:
        class_table: the meaning of its label maps.
        schema: what its examples hold.
        splits: measures of every example that could be read, by split.
        faults: of files, in the words of `InputError`.
        edges: the section of the config that says what an edge is.
        scenes: arrays of the first examples, as `example.Schema` has them, with `edges` and, where
            there are CG frames, `cg_edges`, float [H, W, 1], of the first frame.
        source_size: height and width of the first file, pixels; None where there are no files.
    """

    class_table: labels.ClassTable
    schema: example.Schema
    splits: Mapping[str, Sequence[Measures]]
    faults: Sequence[str]
    edges: ml_collections.ConfigDict
    scenes: Sequence[Mapping[str, np.ndarray]]
    source_size: tuple[int, int] | None

    @property
    def examples(self) -> Sequence[Measures]:
        """Those of all splits."""
        return [one for examples in self.splits.values() for one in examples]

    def pixels(self, split: str) -> np.ndarray:
        """How many pixels of a split have each id, int64 [256]."""
        return sum((one.pixels for one in self.splits[split]), np.zeros(256, np.int64))


def take(builder: ExampleBuilder, config: ml_collections.ConfigDict) -> Survey:
    """Reads all examples of a dataset, without storing any, and measures them.

    Args:
        builder: of the dataset.
        config: the whole config; it says what an edge is.
    """
    by_place = {_place(fault): str(fault) for fault in builder.faults()}
    draw = jax.jit(lambda frames: clean_edges(to_float(frames), config))
    splits: dict[str, list[Measures]] = {}
    scenes: list[dict] = []
    for split, size in builder.split_sizes.items():
        splits[split] = []
        make_example, items = builder.recipe(split)
        found = workers.map_in_processes(Tolerant(make_example), items, size)
        for arrays in tqdm.tqdm(found, desc=f"Reading {split}", total=size, unit=" examples"):
            if isinstance(arrays, Exception):
                by_place.setdefault(_place(arrays), str(arrays))
                continue
            splits[split].append(_measure(arrays, config.edges.threshold))
            if len(scenes) < _NUM_SCENES:
                drawn = {
                    name: np.asarray(draw(arrays[key]))[0]
                    for name, key in (("edges", "image"), ("cg_edges", "cg"))
                    if key in arrays
                }
                scenes.append(arrays | drawn)
    return Survey(
        builder.class_table,
        builder.schema,
        splits,
        list(by_place.values()),
        config.edges,
        scenes,
        builder.source_size,
    )


def _place(fault: Exception) -> str:
    """The file of a fault: a file whose header is damaged cannot be read either."""
    return str(fault).partition(": ")[0]


def _measure(arrays: Mapping, threshold: float) -> Measures:
    motion = None
    if "flow" in arrays:
        lengths = np.linalg.norm(arrays["flow"].astype(np.float32), axis=-1)
        median, high = np.quantile(lengths, [0.5, 0.99])
        motion = (float(median), float(high))
    return Measures(
        name=arrays["name"],
        pixels=np.bincount(arrays["label"].ravel(), minlength=256),
        edges=_edge_density(arrays["image"], threshold),
        cg_edges=_edge_density(arrays["cg"], threshold) if "cg" in arrays else None,
        motion=motion,
        digest=hashlib.sha256(arrays["image"][0].tobytes()).digest(),
    )


def _edge_density(frames: np.ndarray, threshold: float) -> float:
    return float(laplacian_edges(to_float(jnp.asarray(frames)), threshold).mean())
