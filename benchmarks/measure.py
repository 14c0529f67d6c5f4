"""What every benchmark shares: timing, the machine's description and the record."""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import jax

_PACKAGES = ("jax", "jaxlib", "flax", "numpy", "opencv-python-headless", "torch")
_LEAST_SECONDS = 0.05  # of a measurement, so that the clock's own cost does not count


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds per call: median and quartiles of several measurements."""

    median: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{1e3 * self.median:.2f} ms ({1e3 * self.lower:.2f}-{1e3 * self.upper:.2f})"

    def divided_by(self, count: int) -> "Timing":
        """Seconds of one of `count` equal parts of a call."""
        return Timing(self.median / count, self.lower / count, self.upper / count)


def time_in_turn(
    functions: Mapping[str, Callable[[], object]], num_measurements: int = 15
) -> dict[str, Timing]:
    """Times functions side by side.

    They take turns, so that whatever else the machine does hits all of them alike.

    Args:
        functions: by name; arrays of JAX that they return are waited for.
        num_measurements: of each function, after one call to warm up.
    """
    calls = {}
    for name, function in functions.items():
        jax.block_until_ready(function())
        start = time.perf_counter()
        jax.block_until_ready(function())
        calls[name] = max(1, round(_LEAST_SECONDS / max(time.perf_counter() - start, 1e-6)))
    seconds = {name: [] for name in functions}
    for _ in range(num_measurements):
        for name, function in functions.items():
            start = time.perf_counter()
            for _ in range(calls[name]):
                jax.block_until_ready(function())
            seconds[name].append((time.perf_counter() - start) / calls[name])
    return {name: summarize(values) for name, values in seconds.items()}


def summarize(values: Sequence[float]) -> Timing:
    """Median and quartiles of two or more measurements in seconds."""
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Timing(median, lower, upper)


def beside_limit(gflop: float, timing: Timing, limit: float) -> dict[str, object]:
    """The columns that tell how close a computation comes to what its device could do.

    Args:
        gflop: operations of the computation, counted by hand.
        timing: of the computation.
        limit: TFLOP/s that a product of large matrices reaches on the device.
    """
    tflops = gflop / 1e3 / timing.median
    return {
        "TFLOP/s": round(tflops, 3),
        "limit": round(limit, 3),
        "of the limit": f"{tflops / limit:.1%}",
    }


def describe_machine() -> dict[str, object]:
    """Processor, cores, device, versions and commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=pathlib.Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "commit": commit,
        "load": os.getloadavg()[0],  # of the last minute, this program's own included
    }


def print_failure(name: str, error: Exception) -> None:
    """Says what was not measured, and the first line of why (compilers explain it in pages)."""
    reason = str(error).strip().partition("\n")[0]
    print(f"failed: {name}: {type(error).__name__}: {reason}", file=sys.stderr)


def _version(package: str) -> str | None:
    """None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def report(name: str, rows: Sequence[Mapping[str, object]], output: pathlib.Path) -> None:
    """Prints a table, one line per row, and writes it with the machine to OUTPUT/NAME.json.

    Of the command's paths it keeps the last parts: where they lie is of no use to readers.
    """
    machine = describe_machine()
    print(f"{machine['processor']}, {machine['cores']} cores; {machine['device']}")
    lines = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{name}.json"
    record = {
        "machine": machine,
        "command": _without_folders(sys.argv[1:]),
        "rows": [dict(row) for row in rows],
    }
    path.write_text(json.dumps(record, indent=2, default=dataclasses.asdict) + "\n")
    print(path)


def _without_folders(arguments: Sequence[str]) -> list[str]:
    return [re.sub(r"(^|=)/(?:[^=]*/)?", r"\1", argument) for argument in arguments]


def _processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
