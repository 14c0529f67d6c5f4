"""Runs of the real command: they end, resume bitwise, and stop cleanly when something is wrong."""

import collections
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from PIL import Image

from configs import streets_video
from configs.baselines import vid2vid
from sflow_jax.data.flow import farneback_flow
from sflow_jax.errors import InputError
from sflow_jax.methods import create_method
from sflow_jax.pictures import flow_to_rgb, largest_motion
from sflow_jax.prepare import prepare
from sflow_jax.runs.checkpoints import Checkpoints, restore_parts
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training import set_up
from tests.class_tables import numbered_classes
from tests.conftest import PROJECT_ROOT, UNUSUAL_ENVIRONMENT
from tests.fast_jit import FAST_FLAGS
from tests.training import golden_losses

TINY = ("--config", "configs/streets.py:tiny")
ENVIRONMENT = os.environ | {
    "XLA_FLAGS": f"--xla_force_host_platform_device_count=1 {FAST_FLAGS}",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


@pytest.fixture(scope="module", autouse=True)
def _compile_once(tmp_path_factory):
    """The runs compile the same step."""
    ENVIRONMENT["JAX_COMPILATION_CACHE_DIR"] = str(tmp_path_factory.mktemp("compiled"))


def start(*arguments, **overrides):
    arguments = arguments if "--config" in arguments else (*TINY, *arguments)
    command = [sys.executable, "-m", "sflow_jax.main", *map(str, arguments)]
    command += [f"--config.{field}={value}" for field, value in overrides.items()]
    return subprocess.Popen(
        command,
        cwd=PROJECT_ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments, **overrides):
    process = start(*arguments, **overrides)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def saved_run(workdir, config):
    """The whole last checkpoint: the state as flat arrays."""
    empty = set_up.set_up_run(config.copy_and_resolve_references()).create_state()
    with Checkpoints(workdir, config.checkpoint) as checkpoints:
        return jax.tree.map(np.asarray, checkpoints.restore(empty))


def wait_for_checkpoint(process, workdir, deadline=240):
    end = time.time() + deadline
    while time.time() < end:
        if any(path.name.isdigit() for path in (workdir / "checkpoints").glob("*")):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    raise TimeoutError(f"no checkpoint in {workdir}")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, data_dir):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    code, output, errors = run("--workdir", workdir, **{"data.data_dir": data_dir})
    assert code == 0, errors
    return workdir, output


@pytest.mark.parametrize(("step", "num_frames"), [(0, 2), (9, 2), (10, 4), (30, 5)])
def test_a_step_of_vid2vid_makes_as_many_images_as_its_clips_have_by_then(step, num_frames):
    config = vid2vid.get_config("streets")
    config.data.frames, config.vid2vid.first_length = 5, 2
    config.vid2vid.epochs_per_length = 1.0
    config.train.batch_size = 3
    schedule = Schedule(10, 0, 0, 40, 40, 40)
    method = create_method(config, numbered_classes(4), schedule)
    run = set_up.Run(config, None, method, schedule, None, None, {})
    assert run.images_made(step) == num_frames * 3 * jax.device_count()


def test_a_run_leaves_metrics_pictures_config_and_a_checkpoint(uninterrupted):
    workdir, output = uninterrupted
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(2, 21, 2))
    last = lines[-1]
    expected = {
        "generator/adversarial", "generator/feature_matching", "generator/perceptual",
        "generator/dned", "discriminator/real", "discriminator/fake", "discriminator/accuracy",
        "gradient_norm/generator", "gradient_norm/dned", "gradient_norm/discriminator",
        "edge_density", "l1", "images_per_second",
    }  # fmt: skip
    assert expected <= last.keys()
    assert last["l1"] < lines[0]["l1"]
    assert last["images_per_second"] > 0
    assert last["edge_density"] == pytest.approx(0.15, abs=0.02)  # quantile 0.85
    assert (workdir / "pictures" / "preview_0000020.png").stat().st_size > 1000
    if importlib.util.find_spec("tensorflow"):
        assert list((workdir / "tensorboard").glob("events.*"))
    assert json.loads((workdir / "config.json").read_text())["generator"]["width"] == 4
    assert str(workdir) in output


@pytest.mark.parametrize("interruption", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_run_resumes_bitwise(
    uninterrupted, tmp_path, data_dir, config, interruption, monkeypatch
):
    """Evaluated on its way and continued elsewhere, it equals the run that was neither."""
    workdir = tmp_path / "interrupted"
    options = {"data.data_dir": data_dir, "eval.every_steps": 8, "log.every_steps": 5}
    process = start("--workdir", workdir, **options)
    wait_for_checkpoint(process, workdir)
    process.send_signal(interruption)
    output, errors = process.communicate(timeout=120)
    if interruption == signal.SIGTERM:
        assert process.returncode == 0, errors
        assert "resumes" in output
    else:
        assert process.returncode == -signal.SIGKILL
    for name, value in UNUSUAL_ENVIRONMENT.items():
        monkeypatch.setitem(ENVIRONMENT, name, value)
    code, output, errors = run("--workdir", workdir, **options)
    assert code == 0, errors
    assert "resumed from step" in output

    expected, state = saved_run(uninterrupted[0], config), saved_run(workdir, config)
    assert int(state.step) == 20
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "l1" in line] == [5, 10, 15, 20]
    assert [line["step"] for line in lines if "eval/l1" in line] == [8, 16, 20]


def test_a_run_whose_newest_checkpoint_is_damaged_continues_from_the_one_before(
    uninterrupted, tmp_path, data_dir, config
):
    workdir = tmp_path / "damaged"
    shutil.copytree(uninterrupted[0], workdir)
    newest = workdir / "checkpoints/20"
    data_file = max((newest / "state").rglob("d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(data_file.read_bytes())
    content[len(content) // 2] ^= 1
    data_file.write_bytes(content)
    code, output, errors = run("--workdir", workdir, **{"data.data_dir": data_dir})
    assert code == 0, errors
    assert re.search(rf"note: {data_file}: damaged: .*; step 18 is used\n", errors)
    assert "Traceback" not in errors
    assert "resumed from step 18" in output
    expected = saved_run(uninterrupted[0], config)
    jax.tree.map(np.testing.assert_array_equal, saved_run(workdir, config), expected)


def test_the_sampler_restores_the_averaged_parameters_alone(uninterrupted, config):
    expected = saved_run(uninterrupted[0], config)
    parts, step = restore_parts(uninterrupted[0], {"ema_params": expected.ema_params})
    assert step == 20
    jax.tree.map(np.testing.assert_array_equal, parts["ema_params"], expected.ema_params)
    with pytest.raises(InputError, match=r"expected step 7"):
        restore_parts(uninterrupted[0], {"ema_params": expected.ema_params}, step=7)
    with pytest.raises(InputError, match="not found"):
        restore_parts(uninterrupted[0] / "nothing", {"ema_params": expected.ema_params})


def test_another_config_does_not_continue_a_run(uninterrupted, data_dir):
    code, _, errors = run(
        "--workdir", uninterrupted[0], **{"data.data_dir": data_dir, "generator.width": 8}
    )
    assert code == 2
    assert "generator.width is 8 and was 4" in errors
    assert "Traceback" not in errors


def test_a_run_goes_on_for_longer_with_another_learning_rate(uninterrupted, data_dir, tmp_path):
    workdir = shutil.copytree(uninterrupted[0], tmp_path / "run")
    changes = {"train.epochs": 2.75, "optimizer.learning_rate": 1e-4, "log.every_steps": 1}
    code, output, errors = run("--workdir", workdir, **{"data.data_dir": data_dir} | changes)
    assert code == 0, errors
    assert "from step 20 on: config.train.epochs is 2.75 and was 2.5" in output
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines[-3:]] == [20, 21, 22]
    noted = json.loads((workdir / "changes.jsonl").read_text())
    assert noted["changes"]["log.every_steps"] == [2, 1]


def test_a_diverging_run_stops_and_keeps_its_last_good_checkpoint(tmp_path, data_dir, config):
    code, _, errors = run(
        "--workdir", tmp_path, **{"data.data_dir": data_dir, "optimizer.learning_rate": 1e30}
    )
    assert code == 1
    assert "non-finite" in errors
    assert "train/" in errors
    assert "Traceback" not in errors
    for step in (tmp_path / "checkpoints").glob("[0-9]*"):
        config.optimizer.learning_rate = 1e30
        state = saved_run(tmp_path, config)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)), step


def test_a_dry_run_describes_the_run_and_trains_nothing(tmp_path, data_dir):
    workdir = tmp_path / "none"
    code, output, errors = run("--dry_run", "--workdir", workdir, **{"data.data_dir": data_dir})
    assert code == 0, errors
    for expected in ("generator", "DNED", "GFLOP per image", "MiB", "20 steps", "8 train"):
        assert expected in output
    assert re.search(
        r"\d ms: \d.* TFLOP/s by hand, \d+% of what a product of large float32", output
    )
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("arguments", "overrides", "message"),
    [
        ((), {"generator.depth": 3}, "depth"),
        ((), {"loss.adversarial": "wgan"}, "found 'wgan', expected one of lsgan, bce, hinge"),
        ((), {"train.batch_size": 0}, "train.batch_size: found 0, expected 1 to 16,777,216"),
        ((), {"train.batch_size": "many"}, "batch_size"),
        ((), {"loss.perceptual_network": "vgg19"}, "sflow_jax.pretrained.weights get vgg19"),
        ((), {"loss.perceptual_network": "vgg19"}, "--config.loss.perceptual_network=hed_vgg16"),
        ((), {"loss.perceptual_network": "hed_vgg16"}, "sflow_jax.pretrained.weights get hed"),
        ((), {"data.dataset": "cityscapes", "data.source": "/nowhere"}, "/nowhere"),
        ((), {"eval.every_steps": 4, "eval.metrics": "fid"}, "weights get inception_v3"),
        (("surplus",), {}, "surplus"),
        (("--config", "configs/none.py"), {}, "configs/none.py"),
        (("--config", "README.md"), {}, "expected Python as in"),
    ],
)
def test_a_mistake_is_one_line_without_a_traceback(
    tmp_path, data_dir, monkeypatch, arguments, overrides, message
):
    monkeypatch.setitem(ENVIRONMENT, "SFLOW_CACHE", str(tmp_path / "cache"))
    overrides = {"data.data_dir": data_dir} | overrides
    code, _, errors = run("--workdir", tmp_path / "run", *arguments, **overrides)
    assert code == 2
    assert message in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "run").exists()


def test_without_tensorflow_a_run_still_writes_its_metrics(tmp_path, monkeypatch):
    from sflow_jax.training.metric_log import MetricLog

    monkeypatch.setitem(sys.modules, "clu", None)
    with MetricLog(tmp_path, 0) as log:
        log.write_scalars(1, {"l1": 0.5})
        log.write_picture(1, "preview", np.zeros((4, 4, 3), np.uint8))
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "l1": 0.5}
    assert (tmp_path / "pictures" / "preview_0000001.png").exists()


def test_what_a_killed_run_logged_after_its_checkpoint_is_dropped(tmp_path):
    from sflow_jax.training.metric_log import MetricLog

    lines = ['{"step": 2, "l1": 1.0}', '{"step": 4, "l1": 0.9}', '{"step": 6, "l']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    with MetricLog(tmp_path, 2) as log:
        log.write_scalars(4, {"l1": 0.8})
    steps = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [{"step": 2, "l1": 1.0}, {"step": 4, "l1": 0.8}]


@pytest.mark.parametrize(
    "bad", [b"\xff\xfe", b"[1]", b'{"step": "2"}', b'{"l1": 1}', b"[" * 100_000, b"null"]
)
def test_a_bad_line_of_metrics_is_named_and_dropped(tmp_path, capsys, bad):
    from sflow_jax.training.metric_log import MetricLog

    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 2, "l1": 1.0}\n' + bad + b'\n{"step": 4, "l1": 0.9}\n')
    with MetricLog(tmp_path, 4):
        pass
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [2, 4]
    assert capsys.readouterr().err == f"note: {path}: line 2 held no metrics and was dropped\n"


@pytest.fixture(scope="module")
def video_run(uninterrupted, data_dir, tmp_path_factory):
    """Two steps from a copy of the image run, which is then deleted, and two more."""
    folder = tmp_path_factory.mktemp("video")
    image_run, workdir = folder / "images", folder / "run"
    shutil.copytree(uninterrupted[0], image_run)
    arguments = ("--config", "configs/streets_video.py:tiny", "--workdir", workdir)
    options = {"data.data_dir": data_dir, "init_from": image_run, "log.images_every_steps": 2}
    options |= {"train.epochs": 2.5}  # part of the compiled step, whose last bits golden losses are
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ENVIRONMENT, "JAX_LOG_COMPILES", "1")
        first = run(*arguments, **options, **{"train.max_steps": 2})
        shutil.rmtree(image_run)
        second = run(*arguments, **options, **{"train.max_steps": 4})
    return workdir, image_run, (first, second)


def test_losses_are_those_that_they_were(uninterrupted, video_run):
    for stage, (workdir, *_) in {"image": uninterrupted, "video": video_run}.items():
        golden_losses.check(stage, golden_losses.losses(workdir))


def test_a_video_run_starts_from_an_image_run_and_resumes_without_it(video_run):
    workdir, image_run, ((code, output, errors), (next_code, next_output, next_errors)) = video_run
    assert code == 0, errors
    assert f"starting from step 20 of {image_run}" in output
    assert next_code == 0, next_errors
    assert "resumed from step 2" in next_output
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    for line in lines:
        for name in ("generator/flow", "generator/warping", "warping_error"):
            assert line[name] > 0
        assert line["dned_share"] == 1


def test_a_video_run_compiles_its_step_once_from_wherever_its_state_comes(video_run):
    """A state that lies elsewhere than the step leaves it would be compiled for twice."""
    for _, _, errors in video_run[2]:
        compiled = collections.Counter(
            line.partition("Compiling ")[2].split()[0]
            for line in errors.splitlines()
            if "Compiling " in line and line.count("ShapedArray") > 40  # a step, not a sum
        )
        assert len(compiled) >= 2, errors  # the step and the preview's translation
        assert set(compiled.values()) == {1}


def test_the_flow_picture_shows_the_real_flow_and_that_of_its_fakes(video_run, data_dir):
    workdir, *_ = video_run
    pictures = workdir / "pictures"
    names = ["flow_0000002.png", "flow_0000004.png", "preview_0000002.png", "preview_0000004.png"]
    assert sorted(path.name for path in pictures.iterdir()) == names
    config = streets_video.get_config("tiny")
    config.data.data_dir = str(data_dir)
    example = prepare(config.data).source("validation")[0]
    height, width = example["flow"].shape[:2]
    sheet = np.asarray(Image.open(pictures / names[0]))
    cells = [sheet[16 : 16 + height, i * (width + 2) :][:, :width] for i in range(6)]
    largest = largest_motion(example["flow"])
    np.testing.assert_array_equal(cells[:2], example["image"])
    np.testing.assert_array_equal(cells[2], flow_to_rgb(example["flow"], largest))
    np.testing.assert_array_equal(cells[5], flow_to_rgb(farneback_flow(*cells[3:5]), largest))
    assert np.ptp(cells[2].astype(int), axis=-1).max() > 200  # some motion has the full color
