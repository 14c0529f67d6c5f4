"""Features of a stream of images or clips, and the statistics that the distances need of them.

They come in batches, each of one size; batches may differ in size and in length. A batch is split
over the local devices; what fills it up to the size that was compiled does not count.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from sflow_jax import sharding
from sflow_jax.errors import InputError
from sflow_jax.files import write_whole
from sflow_jax.metrics.frechet import Gaussian, GaussianStream
from sflow_jax.metrics.inception_input import InputProtocol

Network = Callable[[Any, jax.Array], jax.Array]
"""(variables, what a protocol prepares [B, ..., H, W, C]) to features [B, d]."""

MOST_KEPT = 50_000
_SEED = 2020


class FeatureExtractor:
    """Computes features of uint8 images, or of clips, on all local devices."""

    def __init__(
        self,
        network: Network,
        network_variables: Any,
        protocol: InputProtocol,
        batch_size: int = 32,
    ) -> None:
        """Compiles nothing yet.

        Args:
            network: computes the features.
            network_variables: its variables, copied to every local device.
            protocol: prepares its input.
            batch_size: images or clips at a time, over all local devices; rounded up to a multiple
                of them.
        """
        self.batch_size = sharding.round_up(batch_size)
        self._variables = sharding.PlacedVariables(network_variables).matching(self.batch_size)
        self._on_host = protocol.on_host
        # Two functions: images of another size do not compile the network again.
        self._on_device = jax.jit(protocol.on_device)
        self._network = jax.jit(network)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the network's variables; see `fingerprint`."""
        return fingerprint(self._variables)

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Computes features; the devices work on one batch while the host makes the next.

        Args:
            batches: uint8 RGB images [N, H, W, 3] or clips [N, T, H, W, 3] each, any N.

        Yields:
            float32 [n, d], all of them in their order, at most `batch_size` at a time.

        Raises:
            ValueError: a batch is something else.
        """
        waiting = None
        for images in batches:
            _check(images)
            for start in range(0, len(images), self.batch_size):
                part = images[start : start + self.batch_size]
                started = self._start(part), len(part)
                if waiting:
                    yield _finish(*waiting)
                waiting = started
        if waiting:
            yield _finish(*waiting)

    def _start(self, images: np.ndarray) -> jax.Array:
        """Features of one batch and what fills it up; returns before they are computed."""
        padding = self.batch_size - len(images)
        widths = (0, padding), *[(0, 0)] * (images.ndim - 1)
        prepared = np.pad(self._on_host(images), widths, mode="edge")
        prepared = self._on_device(sharding.spread(prepared))
        return self._network(self._variables, prepared)


def _check(images: np.ndarray) -> None:
    if images.dtype != np.uint8 or images.ndim not in (4, 5) or images.shape[-1] != 3:
        found = f"{images.dtype} {list(images.shape)}"
        raise ValueError(f"images are {found}, expected uint8 [N, H, W, 3] or [N, T, H, W, 3]")


def _finish(features: jax.Array, count: int) -> np.ndarray:
    return np.asarray(features, np.float32)[:count]


@dataclasses.dataclass(frozen=True)
class FeatureStatistics:
    """What the metrics need of a set of images.

    Attributes:
        gaussian: for the Fréchet distance, of all images.
        features: float32 [N, d] for the kernel distance, precision and recall: of all images, or of
            a random part of them where there are more than were to be kept.
    """

    gaussian: Gaussian
    features: np.ndarray


class FeatureSample:
    """A uniform random sample of a stream (Vitter, 1985, algorithm R): bounded memory."""

    def __init__(self, most: int, seed: int = _SEED) -> None:
        self._most, self._seen = most, 0
        self._kept: list[np.ndarray] = []
        self._random = np.random.RandomState(seed)

    def update(self, features: np.ndarray) -> None:
        """Sees features [N, d]."""
        for row in features:
            self._seen += 1
            if len(self._kept) < self._most:
                self._kept.append(row.copy())
            elif (index := self._random.randint(self._seen)) < self._most:
                self._kept[index] = row.copy()

    def features(self) -> np.ndarray:
        """The sample [min(seen, most), d]; in the order of the stream if it has all of it."""
        return np.array(self._kept, np.float32)


class StatisticsStream:
    """Collects the features of a set of images batch by batch; memory does not grow with it."""

    def __init__(self, kept: int = 0) -> None:
        """Starts with none.

        Args:
            kept: how many features to keep at most, over all hosts; 0 where only the Fréchet
                distance is wanted, else `MOST_KEPT` is a good choice.
        """
        self._stream = GaussianStream()
        share = -(-kept // jax.process_count())
        self._sample = FeatureSample(share, _SEED + jax.process_index())

    def update(self, features: np.ndarray) -> None:
        """Adds features [N, d]."""
        self._stream.update(features)
        self._sample.update(features)

    def statistics(self) -> FeatureStatistics:
        """The statistics of all features of all hosts, on every host.

        Raises:
            InputError: there are fewer than two images.
        """
        merged = GaussianStream()
        for state in sharding.gather_from_hosts(self._stream.state()):
            merged.merge(GaussianStream.from_state(state))
        samples = sharding.gather_from_hosts({"features": self._sample.features()})
        parts = [sample["features"] for sample in samples]
        filled = [part for part in parts if len(part)] or parts[:1]
        return FeatureStatistics(merged.gaussian(), np.concatenate(filled))


def collect(feature_batches: Iterable[np.ndarray], kept: int = 0) -> FeatureStatistics:
    """Runs through features once; memory does not grow with their number.

    Several hosts each bring the features of their own images, and all get the statistics of all.

    Args:
        feature_batches: [N, d] each, as from `FeatureExtractor.stream`.
        kept: how many features to keep at most; see `StatisticsStream`.

    Raises:
        InputError: there are fewer than two images.
    """
    stream = StatisticsStream(kept)
    for features in feature_batches:
        stream.update(features)
    return stream.statistics()


def fingerprint(network_variables: Any) -> str:
    """SHA-256 of the names, shapes and values of variables: part of a cache's key."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(network_variables):
        leaf = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def files_state(folder: pathlib.Path, paths: Iterable[pathlib.Path]) -> str:
    """SHA-256 of a folder and of its files' names, sizes and times: part of a cache's key.

    Raises:
        InputError: a file has gone.
    """
    digest = hashlib.sha256(os.fsencode(folder.resolve()))
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; expected a file") from error
        name = path.relative_to(folder)
        digest.update(os.fsencode(f"\0{name}\0{status.st_size}\0{status.st_mtime_ns}"))
    return digest.hexdigest()


def cached(
    folder: pathlib.Path, key: Mapping[str, str], compute: Callable[[], FeatureStatistics]
) -> FeatureStatistics:
    """Reads statistics from a cache, or computes and stores them.

    Args:
        folder: of the cache.
        key: everything the statistics depend on: dataset (see `files_state`) and split, image
            size, weights (see `fingerprint`), protocol, how many features are kept.
        compute: called where the cache has nothing under this key, or only a damaged file.
    """
    found = read_cached(folder, key)
    if found is None:
        found = compute()
        write_cached(folder, key, found)
    return found


def read_cached(folder: pathlib.Path, key: Mapping[str, str]) -> FeatureStatistics | None:
    """Reads statistics from a cache; None if it has none under this key, or only a damaged file."""
    # The first host's file decides: hosts that disagree would deadlock.
    arrays = sharding.gather_from_hosts(
        _read(_cache_file(folder, key)) if sharding.is_first_host() else {}
    )[0]
    if not arrays:
        return None
    gaussian = Gaussian(arrays["count"].item(), arrays["mean"], arrays["factor"])
    return FeatureStatistics(gaussian, arrays["features"])


def write_cached(
    folder: pathlib.Path, key: Mapping[str, str], statistics: FeatureStatistics
) -> None:
    """Stores statistics in a cache; only the first host does.

    Where the cache cannot be written, a note says so: the statistics are of use without it.
    """
    if sharding.is_first_host():
        content = safetensors.numpy.save(_to_arrays(statistics), metadata=dict(key))
        try:
            write_whole(_cache_file(folder, key), content)
        except OSError as error:
            print(f"note: statistics of the real images are not kept: {error}", file=sys.stderr)


def _cache_file(folder: pathlib.Path, key: Mapping[str, str]) -> pathlib.Path:
    name = hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:32]
    return folder / f"statistics-{name}.safetensors"


def _read(path: pathlib.Path) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError):
        return {}  # absent or damaged: it is computed again


def _to_arrays(statistics: FeatureStatistics) -> dict[str, np.ndarray]:
    gaussian = statistics.gaussian
    arrays = {
        "count": np.array([gaussian.count], np.int64),
        "mean": gaussian.mean,
        "factor": gaussian.factor,
        "features": statistics.features,
    }
    # safetensors writes the memory as it lies, whatever the strides say.
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}
