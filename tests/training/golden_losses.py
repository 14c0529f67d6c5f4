"""The losses of the first 20 steps of an image run, and of a video run from it.

`python -m tests.training.golden_losses` writes them anew: after a change that is meant to change
them, and for another processor or jaxlib.
"""

import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import pytest

from sflow_jax.compilation_cache import processor_digest
from tests.conftest import PROJECT_ROOT
from tests.fast_jit import FAST_FLAGS

FILE = pathlib.Path(__file__).with_suffix(".json")
NUM_STEPS = 20
STAGES = {"image": "configs/streets.py:tiny", "video": "configs/streets_video.py:tiny"}
ENVIRONMENT = os.environ | {
    "XLA_FLAGS": f"--xla_force_host_platform_device_count=1 {FAST_FLAGS}",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
# Adam's first steps are signs of gradients: a sum in another order, which is another in its last
# bit, grows to this share of a loss in 20 steps.
_TOLERANCE = 0.03


def place() -> dict[str, str]:
    """What the last bits depend on."""
    return {"processor": processor_digest(), "jaxlib": importlib.metadata.version("jaxlib")}


def train(folder: pathlib.Path) -> dict[str, dict[str, dict[str, float]]]:
    """Trains both stages in a folder; their losses by step."""
    found = {}
    for stage, config in STAGES.items():
        options = {
            "data.data_dir": folder / "data",
            "train.epochs": 2.5,
            "log.every_steps": 1,
            "log.images_every_steps": NUM_STEPS,
            "init_from": folder / "image" if stage == "video" else "",
        }
        flags = [f"--config.{name}={value}" for name, value in options.items()]
        command = ["-m", "sflow_jax.main", "--config", config, f"--workdir={folder / stage}"]
        subprocess.run(
            [sys.executable, *command, *flags], env=ENVIRONMENT, cwd=PROJECT_ROOT, check=True
        )
        found[stage] = losses(folder / stage)
    return found


def losses(workdir: pathlib.Path) -> dict[str, dict[str, float]]:
    """Those that a run has logged, by step."""
    lines = (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return {
        str(line["step"]): {
            name: value
            for name, value in line.items()
            if name.startswith(("generator/", "discriminator/")) or name == "l1"
        }
        for line in map(json.loads, lines)
        if "l1" in line
    }


def check(stage: str, found: dict[str, dict[str, float]]) -> None:
    """Compares losses with the file: to the last bit where it was made, else to rounding."""
    golden = json.loads(FILE.read_text(encoding="utf-8"))
    expected = {step: golden[stage][step] for step in found}
    if place() == golden["place"]:
        assert found == expected
        return
    for step, values in expected.items():
        tolerance = 1e-5 if int(step) <= 2 else _TOLERANCE
        assert found[step] == pytest.approx(values, rel=tolerance, abs=tolerance), (stage, step)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        golden = {"place": place(), **train(pathlib.Path(name))}
    FILE.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")
