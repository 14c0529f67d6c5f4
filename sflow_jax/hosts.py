"""Several processes, one for each host: how they find one another and add up what they counted."""

from collections.abc import Mapping

import jax
import numpy as np
import safetensors.numpy
from jax.experimental import multihost_utils

from sflow_jax.errors import InputError, one_line


def initialize() -> None:
    """Joins the processes that run the same command; call it before anything else of JAX.

    SLURM, Open MPI, Kubernetes and Cloud TPU are detected by JAX.

    Raises:
        InputError: there is no such environment, or the others cannot be reached.
    """
    try:
        jax.distributed.initialize()
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"--distributed: found {one_line(error)!r}, "
            "expected SLURM, Open MPI, Kubernetes or a Cloud TPU"
        ) from error


def is_first() -> bool:
    """Whether this process is the one that writes results."""
    return jax.process_index() == 0


def gather(arrays: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The arrays of every host, on every host; as bytes, since JAX would round float64."""
    if jax.process_count() == 1:
        return [dict(arrays)]
    content = np.frombuffer(safetensors.numpy.save(dict(arrays)), np.uint8)
    lengths = multihost_utils.process_allgather(np.array(len(content), np.int32)).ravel()
    padded = np.pad(content, (0, lengths.max() - len(content)))
    contents = multihost_utils.process_allgather(padded)
    return [
        safetensors.numpy.load(row[:length].tobytes())
        for row, length in zip(contents, lengths, strict=True)
    ]


def total(sums: Mapping[str, float | np.ndarray]) -> dict[str, np.ndarray]:
    """The sums over all hosts, on every host; a host that saw nothing may lack names."""
    totals = {}
    for part in gather({name: np.array(value) for name, value in sums.items()}):
        for name, value in part.items():
            totals[name] = totals.get(name, 0) + value
    return totals
