"""Speed of a device, with times that are given instead of measured."""

import pytest

from sflow_jax.training import utilization


def test_calls_are_timed_after_one_to_warm_up(monkeypatch):
    clock = iter([0, 9, 10, 11, 20, 23])
    monkeypatch.setattr(utilization.time, "perf_counter", lambda: next(clock))
    calls = []
    assert utilization.time_calls(lambda: calls.append(1), 2) == [1, 3]
    assert len(calls) == 3


def test_the_limit_is_that_of_the_fastest_product(monkeypatch):
    monkeypatch.setattr(utilization, "time_calls", lambda function, count: [2.0, 0.5, 1.0])
    assert utilization.matrix_limit("float32") == pytest.approx(4 * 2 * 2048**3 / 0.5)
