"""The whole way of a real video sequence at the size of the paper: all commands, tiny networks."""

import json
import math
import os
import subprocess
import sys

import numpy as np

from sflow_jax.data import images
from tests.conftest import PROJECT_ROOT
from tests.decoded_video import decode
from tests.fast_jit import FAST_FLAGS

SIZE = (256, 512)
NARROW = {
    "init_from": "none",
    "loss.perceptual_weight": 0,
    "flow.loss": "both",
    "dned.width": 1,
    "generator.width": 2,
    "generator.num_blocks": 1,
    "discriminator.width": 2,
    "train.max_steps": 2,
    "log.every_steps": 1,
    "log.num_images": 1,
}


def run(module, *arguments, **overrides):
    command = [sys.executable, "-m", f"sflow_jax.{module}", *map(str, arguments)]
    command += [f"--config.{field}={value}" for field, value in overrides.items()]
    flags = f"--xla_force_host_platform_device_count=1 {FAST_FLAGS}"
    done = subprocess.run(
        command, cwd=PROJECT_ROOT, env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_real_sequence_is_prepared_trained_on_exported_and_translated(real_data, tmp_path):
    config = ("--config", "configs/cityscapes_video.py")
    data = {"data.source": real_data / "cityscapes", "data.data_dir": tmp_path / "data"}
    run("prepare", *config, "--export", tmp_path / "frames", **data)
    run("main", *config, "--workdir", tmp_path / "run", **data, **NARROW)
    folders = ("--workdir", tmp_path / "run", "--input", tmp_path / "frames/train")
    run("sample", *folders, "--output", tmp_path / "out", "--video")

    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    for line in lines:
        assert all(map(math.isfinite, line.values()))
        assert min(line[name] for name in ("generator/flow", "generator/warping")) > 0
        assert line["flow/farneback"] == line["generator/flow"]  # whose weight is 1
    [sequence] = (tmp_path / "frames/train").iterdir()
    assert sorted(path.name for path in (sequence / "image").iterdir()) == [
        f"aachen_000001_{number:06d}.png" for number in range(4)
    ]
    results = tmp_path / "out" / sequence.name
    frames = [images.read_color(path) for path in sorted((results / "frames").iterdir())]
    assert [frame.shape for frame in frames] == [(*SIZE, 3)] * 4
    assert all(np.any(frame != frames[0]) for frame in frames[1:])
    assert decode(results / "video.mp4").frames.shape == (4, *SIZE, 3)
