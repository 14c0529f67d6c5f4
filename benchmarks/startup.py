"""How long commands take to start.

    python -m benchmarks.startup [--config configs/streets.py] [--num_measurements 3] [--output DIR]

`--help` and a config error of each command, and the time from starting `main` until the losses of
its first step are there: in a new workdir, where everything is compiled, and when the same command
continues the run, with what was compiled kept in the workdir. The dataset is prepared before. The
last column has the slowest imports of `--help`, by `python -X importtime`.
"""

import argparse
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks import measure
from benchmarks import options as options_lib

_COMMANDS = ("main", "sample", "evaluate", "train_segmenter", "prepare")
_NUM_IMPORTS = 3
_SMALL = (  # a few scenes, and no pauses for pictures and scores
    "--config.data.num_train=8",
    "--config.data.num_validation=2",
    "--config.data.num_test=2",
    "--config.log.images_every_steps=1000000",
    "--config.eval.every_steps=0",
)
_IMPORT_TIME = re.compile(r"import time:\s*\d+ \|\s*(\d+) \| {1,3}(\S+)$")


def main() -> None:
    """Measures every command, then training."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=_config_file, default="configs/streets.py")
    parser.add_argument("--num_measurements", type=options_lib.at_least(1), default=3)
    options_lib.add_output(parser)
    options = parser.parse_args()
    rows = [_measure_help(command, options.num_measurements) for command in _COMMANDS]
    rows.append(_measure_error(options.num_measurements))
    rows += _measure_training(options.config, options.num_measurements)
    measure.report("startup", rows, options.output)


def _config_file(text: str) -> str:
    options_lib.existing(text.partition(":")[0])  # what follows is an argument of the config
    return text


def _command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"sflow_jax.{name}", *arguments]


def _measure_help(name: str, num_measurements: int) -> dict[str, object]:
    seconds = [_time_to_end(_command(name, "--help")) for _ in range(num_measurements)]
    return _row(f"{name} --help", seconds) | {"slowest imports": _slowest_imports(name)}


def _measure_error(num_measurements: int) -> dict[str, object]:
    command = _command("main", "--config", "configs/streets.py", "--config.no.such=1")
    return _row("main, config error", [_time_to_end(command) for _ in range(num_measurements)])


def _measure_training(config: str, num_measurements: int) -> list[dict[str, object]]:
    first, second = [], []
    with tempfile.TemporaryDirectory() as folder:
        arguments = ("--config", config, f"--config.data.data_dir={folder}/data", *_SMALL)
        subprocess.run(_command("prepare", *arguments), check=True, capture_output=True)
        for index in range(num_measurements):
            train = _command("main", *arguments, "--workdir", f"{folder}/run_{index}")
            first.append(_time_to_step(train))
            second.append(_time_to_step(train))
    return [
        _row("main, new workdir, to the first step", first),
        _row("main, continued, to the next step", second),
    ]


def _row(what: str, seconds: list[float]) -> dict[str, object]:
    return {
        "start": what,
        "median, s": round(statistics.median(seconds), 2),
        "least, s": round(min(seconds), 2),
        "most, s": round(max(seconds), 2),
        "slowest imports": "-",
    }


def _time_to_end(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=False, capture_output=True)
    return time.perf_counter() - start


def _time_to_step(command: list[str]) -> float:
    """Seconds until the log has the losses of another step; the run then ends with a checkpoint."""
    # The variable would take the workdir's place.
    ignored = "JAX_COMPILATION_CACHE_DIR"
    environment = {key: value for key, value in os.environ.items() if key != ignored}
    workdir = pathlib.Path(command[command.index("--workdir") + 1])
    command = [*command, "--config.log.every_steps=1"]
    log = workdir / "metrics.jsonl"
    lines_before = _count_lines(log)
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while _count_lines(log) <= lines_before:
        if process.poll() is not None:
            raise RuntimeError(f"{' '.join(command)}: {process.stderr.read()}")
        time.sleep(0.01)
    seconds = time.perf_counter() - start
    process.send_signal(signal.SIGTERM)  # it saves and ends
    process.communicate()
    return seconds


def _count_lines(path: pathlib.Path) -> int:
    return path.read_text().count("\n") if path.exists() else 0


def _slowest_imports(name: str) -> str:
    command = [sys.executable, "-X", "importtime", *_command(name, "--help")[1:]]
    text = subprocess.run(command, check=False, capture_output=True, text=True).stderr
    times = [match for line in text.splitlines() if (match := _IMPORT_TIME.match(line))]
    packages = {}
    for match in times:
        package = match[2].partition(".")[0]
        packages[package] = max(packages.get(package, 0), int(match[1]))
    slowest = sorted(packages, key=packages.get, reverse=True)[:_NUM_IMPORTS]
    return ", ".join(f"{package} {packages[package] / 1e6:.2f} s" for package in slowest)


if __name__ == "__main__":
    main()
