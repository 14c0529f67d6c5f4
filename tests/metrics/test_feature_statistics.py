import os
import pathlib
import re
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.metrics.feature_statistics import (
    FeatureExtractor,
    FeatureSample,
    cached,
    collect,
    fingerprint,
)
from sflow_jax.metrics.frechet import GaussianStream
from sflow_jax.metrics.inception_input import InputProtocol

DEPTH = 5
VARIABLES = {"kernel": np.random.RandomState(0).standard_normal((3, DEPTH)).astype(np.float32)}
PROTOCOL = InputProtocol(
    "test", lambda images: images, lambda images: images.astype(np.float32) / 255
)


def network(variables, images):
    """Colors of the image, mixed; no image sees another one."""
    return (images.std((1, 2)) + images.mean((1, 2)) ** 2) @ variables["kernel"]


def images(count, size=(4, 6), seed=0):
    return np.random.RandomState(seed).randint(0, 256, (count, *size, 3)).astype(np.uint8)


def expected_features(batch):
    x = batch.astype(np.float64) / 255
    return (x.std((1, 2)) + x.mean((1, 2)) ** 2) @ VARIABLES["kernel"]


@pytest.mark.parametrize("batch_size", [1, 8, 16])
def test_padding_does_not_count(batch_size):
    """Batches that fill no device, all of them, and more than fit at once."""
    extractor = FeatureExtractor(network, VARIABLES, PROTOCOL, batch_size)
    assert extractor.batch_size % jax.local_device_count() == 0
    for count in (1, 7, 8, 21):
        batch = images(count)
        parts = list(extractor.stream([batch]))
        assert max(map(len, parts)) <= extractor.batch_size
        np.testing.assert_allclose(np.concatenate(parts), expected_features(batch), atol=1e-6)


def test_batches_keep_their_order_and_may_differ_in_size():
    batches = [images(3), images(11, (9, 2), 1), images(1, (4, 6), 2)]
    extractor = FeatureExtractor(network, VARIABLES, PROTOCOL, 8)
    found = np.concatenate(list(extractor.stream(iter(batches))))
    expected = np.concatenate([expected_features(batch) for batch in batches])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert list(extractor.stream([])) == []


def test_all_local_devices_work():
    devices = []

    def spying_network(variables, images):
        jax.debug.inspect_array_sharding(images, callback=lambda s: devices.append(s.device_set))
        return network(variables, images)

    list(FeatureExtractor(spying_network, VARIABLES, PROTOCOL).stream([images(2)]))
    assert devices == [set(jax.local_devices())]


def test_batch_one_equals_batch_many():
    batch = images(13)
    results = [
        collect(FeatureExtractor(network, VARIABLES, PROTOCOL, 8).stream(batches), kept=100)
        for batches in ([batch], batch[:, None])
    ]
    np.testing.assert_allclose(*(x.features for x in results), atol=1e-7)
    np.testing.assert_allclose(*(x.gaussian.covariance for x in results), atol=1e-7)


@pytest.mark.parametrize(
    "batch",
    [np.zeros((2, 4, 4, 3), np.float32), np.zeros((4, 4, 3), np.uint8), images(2)[..., :1]],
    ids=["float", "one image", "gray"],
)
def test_other_arrays_are_refused(batch):
    extractor = FeatureExtractor(network, VARIABLES, PROTOCOL)
    shape = re.escape(str(list(batch.shape)))
    with pytest.raises(ValueError, match=f"images are {batch.dtype} {shape}, expected uint8"):
        list(extractor.stream([batch]))


def features(count, seed=0):
    return np.random.RandomState(seed).standard_normal((count, DEPTH)).astype(np.float32)


@pytest.mark.parametrize(("count", "found"), [(0, "no image"), (1, "1 image or")])
def test_fewer_than_two_images_are_refused(count, found):
    with pytest.raises(InputError, match=f"found {found}"):
        collect([features(count)] if count else [])


def test_features_are_kept_on_request():
    parts = [features(4), features(6, 1)]
    assert collect(parts).features.shape == (0,)
    np.testing.assert_array_equal(collect(parts, kept=10).features, np.concatenate(parts))
    some = collect(parts, kept=7)
    assert some.features.shape == (7, DEPTH)
    assert some.gaussian.count == 10


def test_the_kept_features_are_a_uniform_sample():
    counts = np.zeros(30)
    for seed in range(2000):
        sample = FeatureSample(10, seed)
        sample.update(np.arange(30)[:, None])
        kept = sample.features()[:, 0].astype(int)
        assert len(set(kept)) == 10
        counts[kept] += 1
    # Each is kept with probability 1/3; five standard deviations.
    assert np.abs(counts / 2000 - 1 / 3).max() < 5 * np.sqrt(2 / 9 / 2000)


KEY = {"dataset": "cityscapes", "size": "256x512", "weights": "01ab", "protocol": "pytorch-fid"}


@pytest.mark.parametrize(("count", "kept"), [(3, 0), (3, 10), (40, 20)])
def test_cache_gives_back_what_was_computed(tmp_path, count, kept):
    computed = collect([features(count)], kept)
    cached(tmp_path / "new", KEY, lambda: computed)
    found = cached(tmp_path / "new", KEY, lambda: pytest.fail("it was computed again"))
    assert found.gaussian.count == count
    np.testing.assert_array_equal(found.gaussian.mean, computed.gaussian.mean)
    np.testing.assert_array_equal(found.gaussian.factor, computed.gaussian.factor)
    np.testing.assert_array_equal(found.features, computed.features)
    assert found.gaussian.mean.dtype == np.float64


@pytest.mark.parametrize("name", KEY)
def test_cache_depends_on_every_part_of_its_key(tmp_path, name):
    first, second = collect([features(3)]), collect([features(4)])
    cached(tmp_path, KEY, lambda: first)
    assert cached(tmp_path, KEY | {name: "another"}, lambda: second) is second
    assert cached(tmp_path, dict(reversed(KEY.items())), pytest.fail).gaussian.count == 3


def test_damaged_cache_is_computed_again(tmp_path):
    cached(tmp_path, KEY, lambda: collect([features(3)]))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-8])
    assert cached(tmp_path, KEY, lambda: collect([features(4)])).gaussian.count == 4
    assert cached(tmp_path, KEY, pytest.fail).gaussian.count == 4
    assert [path.name for path in tmp_path.iterdir()] == [path.name]  # no partial file


def test_nothing_is_stored_when_computing_fails(tmp_path):
    with pytest.raises(InputError):
        cached(tmp_path, KEY, lambda: collect([]))
    assert not list(tmp_path.iterdir())


def test_fingerprint_sees_names_and_values():
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    variants = [
        {"a": kernel},
        {"b": kernel},
        {"a": kernel.T},
        {"a": kernel + 1},
        {"a": kernel.astype(np.int32)},
    ]
    assert len({fingerprint(variant) for variant in variants}) == len(variants)
    assert fingerprint({"a": jax.numpy.array(kernel)}) == fingerprint({"a": kernel})


HOST = """
import pathlib, sys
import jax
import numpy as np
from sflow_jax.metrics import feature_statistics

port, host, folder = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
jax.distributed.initialize(f"127.0.0.1:{port}", 2, host)
parts = np.load(folder / "features.npz")
results = {}
for name, kept in (("few", 0), ("many", 100), ("one_host", 100)):
    batches = [x for x in [parts[f"{name}_{host}"]] if len(x)]
    key = {"dataset": name}
    for turn in ("computed", "cached"):
        compute = lambda: feature_statistics.collect(batches, kept)
        # Only the first host sees what is in its folder.
        found = feature_statistics.cached(folder / str(host), key, compute)
        results[f"{name}_{turn}_covariance"] = found.gaussian.covariance
        results[f"{name}_{turn}_features"] = found.features
        batches = []
np.savez(folder / f"result_{host}.npz", **results)
"""


def test_two_hosts_share_their_statistics(tmp_path):
    counts = {"few": (2, 2), "many": (30, 11), "one_host": (20, 0)}
    parts = {
        f"{name}_{host}": features(count, seed=host) + 1e-9 * host
        for name, pair in counts.items()
        for host, count in enumerate(pair)
    }
    np.savez(tmp_path / "features.npz", **parts)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    root = pathlib.Path(__file__).parents[2]
    hosts = [
        subprocess.Popen(
            [sys.executable, "-c", HOST, str(port), str(host), str(tmp_path)],
            env=environment,
            cwd=root,
        )
        for host in range(2)
    ]
    try:
        assert [host.wait(120) for host in hosts] == [0, 0]
    finally:
        for host in hosts:
            host.kill()
    for name in counts:
        whole = np.concatenate([parts[f"{name}_0"], parts[f"{name}_1"]])
        stream = GaussianStream()
        stream.update(whole)
        for host in range(2):
            result = np.load(tmp_path / f"result_{host}.npz")
            for turn in ("computed", "cached"):
                found = result[f"{name}_{turn}_covariance"]
                np.testing.assert_allclose(found, stream.gaussian().covariance, atol=1e-13)
                kept = result[f"{name}_{turn}_features"]
                np.testing.assert_array_equal(kept, whole if name != "few" else kept[:0])
    assert not (tmp_path / "1").exists()
