"""FID, KID, precision and recall: the distances on features of Inception-v3.

Only the published 2015-12-05 weights give these names; without them there is no such number.

    extractor = fid.inception_extractor("pytorch-fid")
    real, fake = (
        feature_statistics.collect(extractor.stream(batches), feature_statistics.MOST_KEPT)
        for batches in (real_batches, fake_batches)
    )
    fid.scores(real, fake, "pytorch-fid")
"""

import os

from sflow_jax.errors import InputError
from sflow_jax.metrics.feature_statistics import FeatureExtractor, FeatureStatistics
from sflow_jax.metrics.frechet import frechet_distance
from sflow_jax.metrics.inception_input import PROTOCOLS
from sflow_jax.metrics.kernel_distance import NUM_SUBSETS, SUBSET_SIZE, kernel_distance
from sflow_jax.metrics.precision_recall import precision_recall
from sflow_jax.pretrained import inception_v3

DEFAULT_PROTOCOL = "pytorch-fid"

# Numbers by different protocols are different numbers: they never share a name.
PROTOCOL_SUFFIXES = {"pytorch-fid": "", "torch-fidelity": "_torch_fidelity", "clean-fid": "_clean"}


def inception_extractor(
    protocol: str = DEFAULT_PROTOCOL,
    cache_dir: str | os.PathLike | None = None,
    batch_size: int = 32,
) -> FeatureExtractor:
    """Loads Inception-v3 for features [N, 2048].

    Args:
        protocol: a key of `inception_input.PROTOCOLS`.
        cache_dir: the folder of the weights; by default $SFLOW_CACHE or ~/.cache/sflow_jax.
        batch_size: images at a time, over all local devices.

    Raises:
        InputError: the protocol is unknown or the weights are absent; the message says what to do.
    """
    if protocol not in PROTOCOLS:
        raise InputError(f"protocol: found {protocol!r}, expected one of {', '.join(PROTOCOLS)}")
    weights = inception_v3.load(cache_dir)
    return FeatureExtractor(inception_v3.features, weights, PROTOCOLS[protocol], batch_size)


def scores(
    real: FeatureStatistics, fake: FeatureStatistics, protocol: str = DEFAULT_PROTOCOL
) -> dict[str, float]:
    """The numbers by name.

    Args:
        real: of real images.
        fake: of generated images.
        protocol: that the features were computed by; other ones than pytorch-fid show in the names.

    Returns:
        `fid`, and where features were kept of both sets `kid`, `kid_std`, `precision`, `recall`.
        With fewer than 1000 images, KID's subsets are the smaller set; where that is all of both,
        there is one KID and no `kid_std`.

    Raises:
        InputError: features were kept of fewer than four images.
    """
    numbers = {"fid": frechet_distance(real.gaussian, fake.gaussian)}
    count = min(len(real.features), len(fake.features))
    if count:
        shares = precision_recall(real.features, fake.features)
        size = min(SUBSET_SIZE, count)
        is_whole = size == len(real.features) == len(fake.features)
        num_subsets = 1 if is_whole else NUM_SUBSETS
        kernel = kernel_distance(real.features, fake.features, num_subsets, size)
        numbers |= {"kid": kernel.mean} if is_whole else {"kid": kernel.mean, "kid_std": kernel.std}
        numbers |= {"precision": shares.precision, "recall": shares.recall}
    return {name + PROTOCOL_SUFFIXES[protocol]: number for name, number in numbers.items()}
