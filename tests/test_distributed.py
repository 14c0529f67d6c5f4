"""Training by several processes: the run of one process, its checkpoint, its end."""

import contextlib
import json
import re
import signal
import time
import types

import jax
import pytest

from configs import streets
from sflow_jax import distributed, sharding
from sflow_jax.errors import InputError
from sflow_jax.runs.checkpoints import Checkpoints, newest_step
from sflow_jax.training.set_up import set_up_run
from tests.processes import finish, start

# Networks that compile fast; enough steps never to end by themselves.
OPTIONS = {
    "generator.num_downsamplings": 1,
    "generator.edges": "laplacian",
    "discriminator.num_layers": 1,
    "loss.perceptual_weight": 0.0,
    "data.height": 32,
    "data.width": 32,
    "data.num_train": 12,
    "train.epochs": 10000.0,
    "train.constant_epochs": 10000.0,
    "train.laplacian_epochs": 10000.0,  # epochs of four devices and of eight have other lengths
    "log.every_steps": 1,
    "log.images_every_steps": 10**6,
    "checkpoint.every_steps": 2,
}


def train(
    workdir, data_dir, *, num_processes, num_devices, config="configs/streets.py:tiny", **options
):
    options = OPTIONS | {"data.data_dir": data_dir} | options
    return start(
        "sflow_jax.main",
        *("--config", config, "--workdir", workdir),
        *(f"--config.{name}={value}" for name, value in options.items()),
        num_processes=num_processes,
        num_devices=num_devices,
    )


def wait_for_checkpoint(workdir, processes, deadline=300):
    end = time.monotonic() + deadline
    while newest_step(workdir) is None:
        if time.monotonic() > end or any(process.poll() is not None for process in processes):
            for process in processes:
                process.kill()
            pytest.fail(f"no checkpoint in {workdir}: {finish(processes)}")
        time.sleep(0.1)


def logged(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("distributed")


@pytest.fixture(scope="module")
def assembled(folder):
    config = streets.get_test_config()
    config.update_from_flattened_dict(OPTIONS | {"data.data_dir": str(folder / "data")})
    return set_up_run(config)


@pytest.fixture(scope="module")
def stopped(folder, assembled):
    """Two processes of two devices, of which the second gets SIGTERM after a checkpoint."""
    workdir = folder / "run"
    processes = train(workdir, folder / "data", num_processes=2, num_devices=2)
    wait_for_checkpoint(workdir, processes)
    processes[1].send_signal(signal.SIGTERM)
    return workdir, finish(processes)


def test_a_signal_to_one_process_saves_and_ends_all(stopped):
    workdir, ends = stopped
    assert [status for status, *_ in ends] == [0, 0], ends
    step = logged(workdir)[-1]["step"]
    assert newest_step(workdir) == step
    message = f"stopped by a signal to one of the processes after step {step}"
    assert message in ends[0][1]


def test_only_the_first_process_reports(stopped):
    workdir, (_, (_, output, errors)) = stopped
    assert "sflow" not in output + errors
    assert "training" not in output + errors
    steps = [line["step"] for line in logged(workdir)]
    assert steps == list(range(1, steps[-1] + 1))


def test_two_processes_of_two_devices_train_as_one_of_four(stopped, assembled):
    """To rounding, which Adam makes larger step by step: its first ones are signs of gradients."""
    step = sharding.parallelize(assembled.device_step(), jax.devices()[:4])
    state, keys = assembled.create_state(), assembled.method.batch_keys
    with contextlib.closing(assembled.batches(0)) as batches:
        eight = next(batches)  # as many examples as this process has devices
    for index, tolerance in enumerate((2e-6, 2e-4)):
        batch = {key: eight[key][4 * index :][:4] for key in keys}
        inputs = sharding.stack_for_devices(batch, keys, 4)
        state, metrics = step(state, assembled.method.frozen_params, inputs)
        found = logged(stopped[0])[index]
        for name, value in jax.device_get(metrics).items():
            assert found[name] == pytest.approx(value, rel=tolerance, abs=1e-6), name


def test_one_process_restores_what_two_have_saved(stopped, assembled):
    workdir, _ = stopped
    with Checkpoints(workdir, assembled.config.checkpoint) as checkpoints:
        state = checkpoints.restore(assembled.describe_state())
    assert int(state.step) == newest_step(workdir)
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(state))
    record = json.loads((workdir / "run.json").read_text())
    assert record["global_batch_size"] == 4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_processes": 2}, r"^--distributed: found no --coordinator_address, expected"),
        ({}, r"^--distributed: found .*expected SLURM"),
    ],
)
def test_without_other_processes_it_is_one_line(given, message):
    flags = dict.fromkeys(("coordinator_address", "num_processes", "process_id")) | given
    with (
        pytest.raises(InputError, match=message),
        distributed.joined(types.SimpleNamespace(**flags)),
    ):
        pass


def test_processes_need_the_flag_that_joins_them():
    (end,) = finish(start("sflow_jax.main", "--num_processes=2"))
    assert end[0] == 2
    assert (
        end[2] == "error: command line: found --num_processes, expected --distributed beside it\n"
    )


@pytest.mark.parametrize(("chosen", "expected"), [("3", 3), ("many", None), ("", None)])
def test_the_number_of_threads_is_the_chosen_one_or_that_of_the_cores(
    monkeypatch, chosen, expected
):
    monkeypatch.setenv("NPROC", chosen)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2, 5, 7}, raising=False)
    assert sharding.num_threads() == (expected or 4)


@pytest.mark.long
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_others_within_a_minute(tmp_path, folder, lost):
    processes = train(tmp_path, folder / "data", num_processes=2, num_devices=1)
    wait_for_checkpoint(tmp_path, processes)
    processes[lost].kill()
    ((status, _, errors),) = finish([processes[1 - lost]], timeout=60)
    processes[lost].communicate()
    assert status not in (None, 0)
    assert re.search("process .* of 2|distributed service", errors), errors
    assert newest_step(tmp_path) >= 2


def run_to(last_step, workdir, folder, **options):
    ends = finish(train(workdir, folder / "data", **{"train.max_steps": last_step}, **options))
    assert [status for status, *_ in ends] == [0] * len(ends), ends
    return ends[0][1]


def assert_same_numbers(workdir, expected_workdir, tolerance):
    pairs = zip(logged(workdir), logged(expected_workdir), strict=True)
    for found, expected in pairs:
        assert found.keys() == expected.keys()
        for name in expected.keys() - {"images_per_second"}:
            assert found[name] == pytest.approx(expected[name], rel=tolerance, abs=1e-5), name


@pytest.mark.long
def test_a_run_moves_between_processes_and_devices(tmp_path, folder):
    """Each part of it continues the one before at the same batch; it ends as the run of one.

    The learning rate is so small that rounding stays rounding.
    """
    workdir, whole, rate = tmp_path / "moved", tmp_path / "whole", {"optimizer.learning_rate": 1e-7}
    run_to(5, whole, folder, num_processes=1, num_devices=4, **rate)
    places = [(1, 4, 1), (2, 2, 1), (4, 1, 1), (2, 1, 2), (1, 1, 4)]
    for step, (processes, devices, batch_size) in enumerate(places, start=1):
        options = rate | {"train.batch_size": batch_size}
        place = {"num_processes": processes, "num_devices": devices}
        output = run_to(step, workdir, folder, **place, **options)
        assert step == 1 or f"resumed from step {step - 1}" in output
    assert_same_numbers(workdir, whole, 1e-4)


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        {"eval.every_steps": 1},
        {"config": "configs/streets_video.py:tiny", "init_from": "none"},
        {
            "config": "configs/baselines/vid2vid.py:streets",
            "generator.width": 4,
            "generator.num_blocks": 1,
            "discriminator.width": 4,
            "data.frames": 4,
            "vid2vid.first_length": 2,
        },
    ],
)
def test_scores_pairs_and_clips_are_those_of_one_process(tmp_path, folder, options):
    for name, place in (("alone", (1, 2)), ("together", (2, 1))):
        processes, devices = place
        run_to(1, tmp_path / name, folder, num_processes=processes, num_devices=devices, **options)
    assert_same_numbers(tmp_path / "together", tmp_path / "alone", 1e-3)
