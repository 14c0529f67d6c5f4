"""What pix2pixHD's instances look like in use: features of training images, in clusters by class.

In training the encoder sees the real image. In use there is none, and every instance draws the
center of one of its class's clusters (section 3.4 of the paper, `encode_features.py` of the code).
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.cluster import vq

from sflow_jax.ops import arguments

MOST_CLUSTERS = 10
_SMALLEST_SHARE = 1 / 64  # of an image; smaller instances are not among those that are clustered
_FIRST_INSTANCE = 1000  # an id from here on is class * 1000 + number


class Clusters(NamedTuple):
    """The centers of the clusters of each class.

    Attributes:
        centers: float32 [C, 10, F], 0 beyond those that a class has.
        counts: how many each class has, int32 [C]; one, of zeros, where no instance was large
            enough: there the official code has uninitialized memory.
    """

    centers: np.ndarray
    counts: np.ndarray


def class_of(instance: np.ndarray | jax.Array) -> np.ndarray | jax.Array:
    """The class of every id of an instance: a counted object, or stuff, which has the class's."""
    where = jnp.where if isinstance(instance, jax.Array) else np.where
    return where(instance < _FIRST_INSTANCE, instance, instance // _FIRST_INSTANCE)


def large_instances(features: np.ndarray, instance: np.ndarray) -> Iterable[tuple[int, np.ndarray]]:
    """Class and features [F] of the instances of an image that are large enough to be clustered.

    Args:
        features: [H, W, F], the same all over an instance.
        instance: ids, [H, W].
    """
    ids, first, counts = np.unique(instance, return_index=True, return_counts=True)
    for identity, index, count in zip(ids, first, counts, strict=True):
        if count > _SMALLEST_SHARE * instance.size:
            yield int(class_of(identity)), features.reshape(-1, features.shape[-1])[index]


def cluster(
    found: Iterable[tuple[int, np.ndarray]], num_classes: int, num_features: int
) -> Clusters:
    """Clusters the features of each class, at most ten each.

    Args:
        found: class and features of every instance.
        num_classes: C.
        num_features: F.
    """
    by_class: dict[int, list[np.ndarray]] = {}
    for label, features in found:
        by_class.setdefault(label, []).append(features)
    centers = np.zeros((num_classes, MOST_CLUSTERS, num_features), np.float32)
    counts = np.ones(num_classes, np.int32)
    for label, rows in by_class.items():
        if label >= num_classes:
            continue
        values = np.stack(rows).astype(np.float64)
        counts[label] = count = min(MOST_CLUSTERS, len(np.unique(values, axis=0)))
        centers[label, :count], _ = vq.kmeans2(
            values, count, minit="++", rng=np.random.default_rng(0)
        )
    return Clusters(centers, counts)


def draw_features(instance: jax.Array, clusters: Clusters, seeds: jax.Array) -> jax.Array:
    """Gives every instance the center of a cluster of its class.

    It depends on the id and the seed alone, so that an instance keeps its look through a clip.

    Args:
        instance: ids, uint16 [B, H, W, 1].
        clusters: from `cluster`.
        seeds: uint32 [B].

    Returns:
        float32 [B, H, W, F].
    """
    arguments.check_array("instance", instance, "B H W 1", "integer")
    ids = instance[..., 0].astype(jnp.uint32)
    draws = _mixed(ids ^ _mixed(seeds.astype(jnp.uint32))[:, None, None])
    labels = jnp.minimum(class_of(ids).astype(jnp.int32), len(clusters.counts) - 1)
    counts = jnp.asarray(clusters.counts)[labels].astype(jnp.uint32)
    return jnp.asarray(clusters.centers)[labels, (draws % counts).astype(jnp.int32)]


def _mixed(x: jax.Array) -> jax.Array:
    """A hash of uint32: the finalizer of MurmurHash3."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
