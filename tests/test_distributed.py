"""Training by several processes: the run of one process, its checkpoint, its end."""

import contextlib
import json
import signal
import time
import types

import jax
import pytest

from configs import streets
from sflow_jax import distributed, sharding
from sflow_jax.errors import InputError
from sflow_jax.runs.checkpoints import Checkpoints, newest_step
from sflow_jax.training.loop import set_up_run
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


def train(workdir, data_dir, *, num_processes, num_devices, **options):
    options = OPTIONS | {"data.data_dir": data_dir} | options
    return start(
        "sflow_jax.main",
        *("--config", "configs/streets.py:tiny", "--workdir", workdir),
        *(f"--config.{name}={value}" for name, value in options.items()),
        num_processes=num_processes,
        num_devices=num_devices,
    )


def wait_for_checkpoint(workdir, processes, step=1, deadline=240):
    end = time.monotonic() + deadline
    while (newest_step(workdir) or 0) < step:
        assert time.monotonic() < end, f"no checkpoint in {workdir}"
        assert all(process.poll() is None for process in processes), finish(processes, 1)
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


@pytest.mark.long
@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_ends_the_others_within_a_minute(tmp_path, folder, lost):
    processes = train(tmp_path, folder / "data", num_processes=2, num_devices=1)
    wait_for_checkpoint(tmp_path, processes)
    processes[lost].kill()
    start_of_silence = time.monotonic()
    status = processes[1 - lost].wait(60)
    assert time.monotonic() - start_of_silence < 60
    assert status != 0
    assert "process" in processes[1 - lost].communicate()[1]
    assert newest_step(tmp_path) >= 2


@pytest.mark.long
def test_a_run_moves_between_processes_and_devices(tmp_path, folder):
    """Each part of it continues the one before at the same batch; it ends as the run of one."""

    def run(workdir, last_step, **options):
        ends = finish(train(workdir, folder / "data", **{"train.max_steps": last_step}, **options))
        assert [status for status, *_ in ends] == [0] * len(ends), ends
        return ends[0][1]

    workdir, whole = tmp_path / "moved", tmp_path / "whole"
    run(whole, 5, num_processes=1, num_devices=4, **{"optimizer.learning_rate": 1e-6})
    places = [(1, 4, 1), (2, 2, 1), (4, 1, 1), (2, 1, 2), (1, 1, 4)]
    for step, (processes, devices, batch_size) in enumerate(places, start=1):
        output = run(
            workdir,
            step,
            num_processes=processes,
            num_devices=devices,
            **{"train.batch_size": batch_size, "optimizer.learning_rate": 1e-6},
        )
        assert step == 1 or f"resumed from step {step - 1}" in output
    for found, expected in zip(logged(workdir), logged(whole), strict=True):
        for name in expected.keys() - {"images_per_second"}:
            assert found[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-5), name
