"""Whether a long training keeps its memory.

    python -m benchmarks.soak [--config configs/streets.py] [--minutes 30] [--output DIR]

Trains in a process of its own, with pictures, scores and checkpoints as the config has them but for
`eval.every_steps` of 100, and samples the resident memory of it and of its workers every two
seconds. SIGTERM then ends it, which it has to do with a checkpoint and status 0. The first third,
in which everything is compiled, is left out of the growth, a line by least squares.
"""

import argparse
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import matplotlib as mpl
import numpy as np
import psutil

from benchmarks import measure
from benchmarks import options as options_lib
from sflow_jax.runs.checkpoints import newest_step

mpl.use("Agg")
from matplotlib import pyplot as plt

_SECONDS = 2.0  # between two samples
_MIB = 2**20


def main() -> None:
    """Trains, samples and reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="configs/streets.py")
    parser.add_argument("--minutes", type=options_lib.at_least(1), default=30)
    options_lib.add_output(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        samples, status = _soak(options.config, 60 * options.minutes, folder)
        step = newest_step(pathlib.Path(folder) / "run")
    minutes, memory = np.array(samples).T
    settled = minutes > minutes[-1] / 3
    growth = np.polyfit(minutes[settled], memory[settled], 1)[0]
    row = {
        "config": options.config,
        "minutes": round(minutes[-1], 1),
        "steps": step,
        "status": status,
        "most, MiB": round(memory.max()),
        "at the end, MiB": round(memory[-1]),
        "growth, MiB per minute": round(growth, 2),
    }
    measure.report("soak", [row], options.output)
    _draw(minutes, memory, options.output / "soak.png")


def _soak(config: str, seconds: float, folder: str) -> tuple[list[tuple[float, float]], int]:
    """Minutes since the start with MiB that are resident then, and the status of the end."""
    arguments = ["--config", config, "--workdir", f"{folder}/run"]
    arguments += [f"--config.data.data_dir={folder}/data", "--config.eval.every_steps=100"]
    command = [sys.executable, "-m", "sflow_jax.main", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    start, samples = time.monotonic(), []
    while time.monotonic() - start < seconds and process.poll() is None:
        samples.append(((time.monotonic() - start) / 60, _resident(process.pid) / _MIB))
        time.sleep(_SECONDS)
    process.send_signal(signal.SIGTERM)
    return samples, process.wait()


def _resident(pid: int) -> int:
    """Bytes of a process and its children."""
    total = 0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.NoSuchProcess:  # a child that has ended meanwhile
        pass
    return total


def _draw(minutes: np.ndarray, memory: np.ndarray, path: pathlib.Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 3))
    axes.plot(minutes, memory)
    axes.set(xlabel="minutes", ylabel="resident memory, MiB", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    main()
