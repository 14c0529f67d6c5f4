import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from sflow_jax.data.workers import map_in_processes
from sflow_jax.errors import InputError
from sflow_jax.machine import num_cores

PROJECT = pathlib.Path(__file__).resolve().parents[2]


def square(number: int) -> tuple[int, int]:
    """The square, after a while that shuffles the order of completion, and who made it."""
    time.sleep(0.002 * (number % 3))
    return number**2, os.getpid()


def refuse(number: int) -> int:
    if number == 20:
        raise InputError(f"item {number}: found it, expected another")
    return number


@pytest.mark.parametrize("num_items", [0, 3, 64])
def test_results_come_in_order(num_items):
    results = list(map_in_processes(square, range(num_items), num_items))
    assert [result for result, _ in results] == [number**2 for number in range(num_items)]
    processes = {process for _, process in results}
    if num_items == 3:
        assert processes == {os.getpid()}  # starting others would take longer
    if num_items == 64 and num_cores() > 1:
        assert len(processes) > 1
        assert os.getpid() not in processes


def test_an_error_of_a_worker_arrives_as_it_was_raised():
    results = map_in_processes(refuse, range(64), 64)
    assert [next(results) for _ in range(20)] == list(range(20))
    with pytest.raises(InputError, match=r"^item 20: found it, expected another$"):
        next(results)


def test_no_more_items_are_taken_than_can_wait():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = map_in_processes(refuse, items(), 1000)
    next(results)
    assert len(taken) <= 4 * num_cores()
    results.close()


def test_workers_do_not_outlive_a_process_that_is_killed():
    program = (
        "import os, time\n"
        "from sflow_jax.data.workers import map_in_processes\n"
        "from tests.data.test_workers import square\n"
        "results = map_in_processes(square, range(1000), 1000)\n"
        "print(next(results)[1], flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    worker = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while pathlib.Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not pathlib.Path(f"/proc/{worker}").exists()
