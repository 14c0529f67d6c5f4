"""Distances between the pictures of a row and the real ones, on the features of a network."""

import dataclasses
import functools
import sys
from collections.abc import Callable, Mapping

import jax
import numpy as np

from sflow_jax.metrics import fid
from sflow_jax.metrics.feature_statistics import (
    MOST_KEPT,
    FeatureExtractor,
    FeatureStatistics,
    StatisticsStream,
    read_cached,
    write_cached,
)
from sflow_jax.metrics.frechet import frechet_distance
from sflow_jax.metrics.inception_input import Protocol
from sflow_jax.metrics.picture_scores import Result
from sflow_jax.ops.pixels import to_float
from sflow_jax.pretrained import streets_segmenter
from sflow_jax.pretrained.weights import cache_directory

FEWEST = 2  # images that have a covariance
FEWEST_KEPT = 4  # images that precision and recall can be computed of


@dataclasses.dataclass(frozen=True)
class Distance:
    """One way to compare two sets of pictures.

    Attributes:
        extractor: the network.
        compare: statistics of the real and of a row's pictures to numbers by name.
        kept: features to keep of each set at most.
        protocol: by which features are computed, if those of the real pictures are worth keeping
            for the next evaluation; else None.
    """

    extractor: FeatureExtractor
    compare: Callable[[FeatureStatistics, FeatureStatistics], Result]
    kept: int = 0
    protocol: str | None = None


class DistanceScore:
    """One distance of one row, as a `picture_scores.Score`."""

    def __init__(self, distance: Distance, real: "DistanceScore | None") -> None:
        """Starts without pictures.

        Args:
            distance: what is computed.
            real: the score of the row of real pictures; None where this is that row.
        """
        self._distance, self._real = distance, real or self
        self._stream = StatisticsStream(distance.kept)

    def update(self, pictures: np.ndarray, examples: Mapping[str, np.ndarray]) -> None:
        """Adds a batch; every frame is an image."""
        images = pictures.reshape(-1, *pictures.shape[2:])
        for features in self._distance.extractor.stream([images]):
            self._stream.update(features)

    @functools.cached_property
    def statistics(self) -> FeatureStatistics:
        """Of all pictures, once they have all been seen."""
        return self._stream.statistics()

    def result(self) -> Result:
        """The numbers by name."""
        return self._distance.compare(self._real.statistics, self.statistics)


class KeptRealScore(DistanceScore):
    """That of the row of real pictures, whose statistics are kept for the next evaluation."""

    def __init__(self, distance: Distance, pictures: Mapping[str, str]) -> None:
        """Reads the statistics if an evaluation of these pictures has kept them.

        Args:
            distance: what is computed.
            pictures: which ones they are, for the key of the cache.
        """
        super().__init__(distance, None)
        self._key = {
            **pictures,
            "weights": distance.extractor.fingerprint,
            "protocol": str(distance.protocol),
            "kept": str(distance.kept),
        }
        self._known = read_cached(cache_directory(), self._key)

    def update(self, pictures: np.ndarray, examples: Mapping[str, np.ndarray]) -> None:
        """Adds a batch, unless the statistics are known."""
        if self._known is None:
            super().update(pictures, examples)

    @functools.cached_property
    def statistics(self) -> FeatureStatistics:
        """Of all pictures, once they have all been seen or if they are known."""
        if self._known is not None:
            return self._known
        computed, folder = self._stream.statistics(), cache_directory()
        try:
            write_cached(folder, self._key, computed)
        except OSError as error:  # no reason to lose the scores
            print(f"note: statistics of the real images are not kept: {error}", file=sys.stderr)
        return computed


def create_real_score(distance: Distance, pictures: Mapping[str, str]) -> DistanceScore:
    """The score of the row of real pictures; see `KeptRealScore`."""
    return KeptRealScore(distance, pictures) if distance.protocol else DistanceScore(distance, None)


def load_inception(protocol: str, batch_size: int, num_images: int) -> Distance:
    """FID, and from four images on KID, precision and recall.

    Args:
        protocol: a key of `inception_input.PROTOCOLS`.
        batch_size: images at a time.
        num_images: of a row.

    Raises:
        InputError: the weights are absent; the message has the command that gets them.
    """
    extractor = fid.inception_extractor(protocol, batch_size=batch_size)
    kept = MOST_KEPT if num_images >= FEWEST_KEPT else 0
    compare = functools.partial(fid.scores, protocol=protocol)
    return Distance(extractor, compare, kept, protocol)


def load_frechet_streets(batch_size: int) -> Distance:
    """`frechet_streets`: on the coarsest features of the segmenter that scores `streets`.

    They are averaged over the pixels of each image. No network of the training sees them.
    """

    def features(variables: dict, images: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("float32"):  # no coarser type on GPU and TPU
            return streets_segmenter.features(variables, images)[-1].mean((1, 2))

    def compare(real: FeatureStatistics, row: FeatureStatistics) -> Result:
        return {"frechet_streets": frechet_distance(real.gaussian, row.gaussian)}

    protocol = Protocol("streets", lambda images: images, to_float)
    variables = streets_segmenter.load("evaluator")
    return Distance(FeatureExtractor(features, variables, protocol, batch_size), compare)
