"""Losses that are not finite are named, and the rate counts images."""

import numpy as np
import pytest

from sflow_jax.errors import TrainingError
from sflow_jax.training import monitoring


def test_the_rate_is_that_of_the_images_made_since_the_last_measurement(monkeypatch):
    clock = iter([10.0, 12.0, 20.0, 21.0])
    monkeypatch.setattr(monitoring.time, "perf_counter", lambda: next(clock))
    rate = monitoring.ImageRate()
    rate.count(8)
    assert rate.measure() == {}
    for num_images in (6, 12):  # clips that get longer
        rate.count(num_images)
    assert rate.measure() == {"images_per_second": 9}
    rate.count(100)
    rate.restart()
    rate.count(5)
    assert rate.measure() == {"images_per_second": 5}


def test_a_non_finite_loss_names_step_loss_and_examples():
    guard = monitoring.FiniteGuard()
    guard.follow(6, {"l1": np.float32(0.5), "generator/total": np.float32(2)}, ["train/000001"])
    bad = {"l1": np.float32(0.5), "generator/total": np.float32("nan")}
    guard.follow(7, bad, ["train/000003", "train/000005"])
    with pytest.raises(TrainingError, match=r"step 7: .*generator/total = nan.*train/000005"):
        guard.check()
