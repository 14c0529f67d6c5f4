"""Farneback's flow beside OpenCV's: agreement and pairs per second.

    python -m benchmarks.optical_flow [--output DIR]

OpenCV runs on the CPU and on all its cores; ours on JAX's default device. On a GPU the arrays are
there already, as they are in training.
"""

import argparse
import pathlib

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from sflow_jax.data.flow import farneback_flow
from sflow_jax.data.streets import render_clip
from sflow_jax.ops.optical_flow import farneback

_SIZES = ((64, 128), (128, 256), (256, 512))


def main() -> None:
    """Measures every size with batches of 1 and 8."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    options = parser.parse_args()
    rows = [row for size in _SIZES for row in _measure(*size)]
    measure.report("optical_flow", rows, options.output)


def _measure(height: int, width: int) -> list[dict[str, object]]:
    images = render_clip(1, num_frames=2, height=height, width=width)["image"]
    greys = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    pair = [jnp.asarray(grey, jnp.float32)[None, ..., None] for grey in greys]
    errors = np.linalg.norm(farneback(*pair)[0] - farneback_flow(*images), axis=-1)
    rows = []
    for batch_size in (1, 8):
        first, second = (jnp.repeat(image, batch_size, 0) for image in pair)
        timings = measure.time_in_turn(
            {
                "OpenCV": lambda n=batch_size: [farneback_flow(*images) for _ in range(n)],
                "ours": lambda pairs=(first, second): farneback(*pairs),
                "ours with gradient": lambda pairs=(first, second): _gradient(*pairs),
            },
            num_measurements=5,
        )
        pairs_per_second = {
            f"{name}, pairs/s": round(batch_size / timing.median, 1)
            for name, timing in timings.items()
        }
        rows.append(
            {
                "size": f"{width}x{height}",
                "batch": batch_size,
                "mean error, px": f"{errors.mean():.1e}",
                "largest error, px": f"{errors.max():.1e}",
                **timings,
                **pairs_per_second,
            }
        )
    return rows


@jax.jit
def _gradient(first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.grad(lambda *pair: jnp.abs(farneback(*pair)).mean(), argnums=(0, 1))(first, second)


if __name__ == "__main__":
    main()
