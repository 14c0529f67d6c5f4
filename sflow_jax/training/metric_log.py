"""Where a run reports to: `metrics.jsonl` and PNGs always, TensorBoard through clu where it can."""

import json
import math
import os
import pathlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from absl import logging

from sflow_jax import sharding
from sflow_jax.files import write_whole
from sflow_jax.pictures import write_png

if TYPE_CHECKING:
    from clu.metric_writers import MetricWriter

METRICS_FILE = "metrics.jsonl"
PICTURES_FOLDER = "pictures"
TENSORBOARD_FOLDER = "tensorboard"


class MetricLog:
    """Writes scalars and pictures of a run; a context manager.

    Of several processes only the first writes scalars; pictures it is given alone.
    """

    def __init__(self, workdir: pathlib.Path, first_step: int):
        """Opens the log, dropping what a killed run had logged after its last checkpoint.

        Args:
            workdir: the folder of the run.
            first_step: steps already done, from the restored checkpoint.
        """
        self._workdir = workdir
        path = workdir / METRICS_FILE
        self._opened: list[MetricWriter] | None = None
        if sharding.is_first_host():
            _drop_lines_after(path, first_step)
        else:
            path, self._opened = pathlib.Path(os.devnull), []
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> "MetricLog":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        for writer in self._opened or ():
            writer.close()

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Appends one line to `metrics.jsonl` and one point per curve to TensorBoard."""
        self._file.write(json.dumps({"step": step, **scalars}) + "\n")
        self._file.flush()
        for writer in self._summary_writers():
            writer.write_scalars(step, scalars)

    def write_picture(self, step: int, name: str, picture: np.ndarray) -> pathlib.Path:
        """Writes uint8 RGB [H, W, 3] to `pictures/NAME_STEP.png`; returns its path."""
        path = self._workdir / PICTURES_FOLDER / f"{name}_{step:07d}.png"
        write_png(path, picture)
        for writer in self._summary_writers():
            writer.write_images(step, {name: picture[None]})
        return path

    def _summary_writers(self) -> "list[MetricWriter]":
        """TensorBoard's, opened with the first numbers: importing TensorFlow takes seconds."""
        if self._opened is None:
            self._opened = _open_summary_writers(self._workdir / TENSORBOARD_FOLDER)
        return self._opened


def _open_summary_writers(folder: pathlib.Path) -> "list[MetricWriter]":
    """Clu's writer, or none where it cannot be imported."""
    # TensorFlow computes nothing here, but would announce its kernels in the progress bar.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    try:
        from clu import metric_writers
    except ImportError as error:  # clu writes summaries through TensorFlow
        logging.warning("no TensorBoard summaries (%s); metrics.jsonl and PNGs are written", error)
        return []
    return [metric_writers.create_default_writer(folder)]


def parse_line(line: bytes) -> dict[str, float] | None:
    """The metrics in a line of `metrics.jsonl`; None where it is torn or damaged."""
    try:
        metrics = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_metrics = isinstance(metrics, dict) and isinstance(metrics.get("step"), int)
    return metrics if is_metrics else None


def _drop_lines_after(path: pathlib.Path, step: int) -> None:
    """Drops the lines of later steps, and what is no metrics; a torn last line unsaid."""
    if not path.exists():
        path.unlink(missing_ok=True)  # a link to nothing, through which lines would be written
        return
    lines = path.read_bytes().splitlines()
    parsed = [parse_line(line) for line in lines]
    kept = [
        line + b"\n"
        for line, metrics in zip(lines, parsed, strict=True)
        if metrics and metrics["step"] <= step
    ]
    write_whole(path, b"".join(kept))
    if damaged := [number for number, metrics in enumerate(parsed[:-1], 1) if not metrics]:
        print(
            f"note: {path}: line {', '.join(map(str, damaged))} held no metrics and was dropped",
            file=sys.stderr,
        )


def to_scalars(metrics: Mapping[str, object]) -> dict[str, float]:
    """Fetches device scalars as Python floats."""
    return {name: float(np.asarray(value)) for name, value in metrics.items()}


def non_finite(scalars: Mapping[str, float]) -> list[str]:
    """Names of the scalars that are infinite or not a number."""
    return [name for name, value in scalars.items() if not math.isfinite(value)]
