"""Evaluation by several devices and by several processes."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from sflow_jax import sharding
from sflow_jax.metrics.picture_scores import Segmentation
from tests.conftest import PROJECT_ROOT
from tests.fast_jit import FAST_FLAGS
from tests.processes import free_port
from tests.test_evaluate import dataset_config
from tests.tiny_run import TABLE, restore_fast, write_run

NUM_DEVICES = 8  # see conftest.py


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    write_run(folder / "run", dataset_config(folder))
    return folder / "run"


@pytest.mark.parametrize(("batch_size", "used"), [(8, 8), (16, 8), (12, 1), (1, 1)])
def test_devices_share_what_they_can_divide(batch_size, used):
    assert jax.local_device_count() == NUM_DEVICES
    images = np.arange(batch_size * 6.0).reshape(batch_size, 2, 3)
    variables = sharding.PlacedVariables({"factor": np.float32(2)})
    scale = jax.jit(lambda variables, images: variables["factor"] * images)
    found = scale(variables.matching(batch_size), sharding.spread(images))
    assert len(found.sharding.device_set) == used
    np.testing.assert_array_equal(found, 2 * images)


def test_batches_are_rounded_up_to_what_devices_divide():
    assert [sharding.round_up(size) for size in (1, 8, 9)] == [8, 8, 16]


def test_translations_do_not_depend_on_the_devices(workdir):
    model = restore_fast(workdir)
    random = np.random.default_rng(0)
    label = random.integers(0, 3, (NUM_DEVICES, 32, 40, 1), np.uint8)
    image = random.integers(0, 256, (NUM_DEVICES, 32, 40, 3), np.uint8)
    together = model.translate(label, image)["image"]
    assert len(together.sharding.device_set) == NUM_DEVICES
    for index in (0, NUM_DEVICES - 1):
        alone = model.translate(label[[index]], image[[index]])["image"]
        assert len(alone.sharding.device_set) == 1
        np.testing.assert_allclose(together[index], alone[0], atol=2e-5)


def test_a_host_without_pictures_adds_nothing(monkeypatch):
    """As with more hosts than images."""
    idle = Segmentation(lambda images: np.zeros(images.shape[:3], int), TABLE)
    assert np.isnan(idle.result()["mean_iou"])
    parts = [{"sum": np.float64(2), "only": np.arange(3)}, {"sum": np.float64(0.5)}]
    monkeypatch.setattr(sharding, "gather_from_hosts", lambda _: parts)
    totals = sharding.sum_over_hosts({})
    assert totals["sum"] == 2.5
    assert totals["only"].tolist() == [0, 1, 2]


def test_processes_share_the_split(workdir, tmp_path):
    """The last of three has none of two images; the first writes what one alone would write."""
    port = free_port()
    outputs = [tmp_path / name for name in ("alone", "together")]

    def start(output, *flags, **variables):
        command = [sys.executable, "-m", "sflow_jax.evaluate", "--workdir", workdir]
        command += ["--output", output, "--limit", 2, *flags]
        environment = os.environ | {"XLA_FLAGS": FAST_FLAGS, "SFLOW_CACHE": str(tmp_path / "cache")}
        return subprocess.Popen(
            list(map(str, command)),
            env=environment | variables,
            cwd=PROJECT_ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )

    def mpi(rank, count):
        ranks = {"COMM_WORLD_SIZE": count, "COMM_WORLD_RANK": rank, "COMM_WORLD_LOCAL_RANK": 0}
        found = {f"OMPI_{name}": str(value) for name, value in ranks.items()}
        address = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}"}
        return found | address | {"OMPI_MCA_orte_hnp_uri": "4096.0;tcp://127.0.0.1:1"}

    processes = [start(outputs[0])]
    processes += [start(outputs[1], "--distributed", **mpi(rank, 3)) for rank in range(3)]
    try:
        errors = [process.communicate(timeout=200)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * 4, errors
    for share, error in zip(("2/2", "1/1", "1/1"), errors, strict=False):
        assert share in error
    alone, together = (json.loads((output / "metrics.json").read_text()) for output in outputs)
    assert together["num_examples"] == alone["num_examples"] == 2
    # A picture alone and one in a batch of two may round a byte in another direction.
    two_bytes = 2 * (2 / 255) / (2 * 32 * 40 * 3)
    for name, row in alone["rows"].items():
        assert together["rows"][name]["l1"] == pytest.approx(row["l1"], abs=two_bytes)
