"""Farneback's flow beside OpenCV's: agreement and pairs per second.

    python -m benchmarks.optical_flow [--sequence FOLDER] [--batch_sizes 1,8] [--output DIR]

FOLDER holds consecutive frames as PNG files; they are compared at 512x256. OpenCV runs on the CPU
and on all its cores; ours on JAX's default device. On a GPU the arrays are there already, as they
are in training.
"""

import argparse
import functools
import itertools
import pathlib
from collections.abc import Iterator

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from benchmarks import options as options_lib
from sflow_jax.data.flow import FARNEBACK
from sflow_jax.data.streets import render_clip
from sflow_jax.ops.optical_flow import farneback

_SIZES = ((64, 128), (128, 256), (256, 512), (512, 1024))
_PARAMETERS = (
    {},
    {"levels": 0},
    {"pyr_scale": 0.7, "levels": 5},
    {"winsize": 11},
    {"winsize": 21, "iterations": 5},
    {"iterations": 10},
    {"poly_n": 7, "poly_sigma": 1.5},
)

Pair = tuple[np.ndarray, np.ndarray]


def main() -> None:
    """Measures agreement on every kind of picture, then speed at every size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sequence", type=options_lib.existing)
    parser.add_argument("--batch_sizes", type=options_lib.whole_numbers, default=[1, 8])
    options_lib.add_output(parser)
    options = parser.parse_args()
    rows = [
        _agreement(name, pairs, parameters)
        for name, pairs in _pictures(options.sequence)
        for parameters in _PARAMETERS
    ]
    measure.report("optical_flow_agreement", rows, options.output)
    rows = [_speed(size, batch) for size, batch in itertools.product(_SIZES, options.batch_sizes)]
    measure.report("optical_flow", rows, options.output)


def _pictures(sequence: pathlib.Path | None) -> Iterator[tuple[str, list[Pair]]]:
    if sequence is not None:
        frames = [
            cv2.resize(cv2.imread(str(path), 0), (512, 256), interpolation=cv2.INTER_AREA)
            for path in sorted(sequence.glob("*.png"))
        ]
        yield "real sequence, 512x256", list(itertools.pairwise(frames))
    yield "streets, 256x128", [_streets_pair(128, 256, seed) for seed in range(3)]
    yield "blurred noise, odd sizes", [_texture(*size) for size in ((97, 131), (33, 70), (11, 40))]


def _streets_pair(height: int, width: int, seed: int = 1) -> Pair:
    first, second = render_clip(seed, num_frames=2, height=height, width=width)["image"]
    return cv2.cvtColor(first, cv2.COLOR_RGB2GRAY), cv2.cvtColor(second, cv2.COLOR_RGB2GRAY)


def _texture(height: int, width: int) -> Pair:
    noise = np.random.default_rng(0).uniform(0, 255, (height, width))
    first = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
    motion = np.array([[1.01, 0.02, 2.3], [-0.02, 0.99, -1.7]])
    second = cv2.warpAffine(first, motion, (width, height), borderMode=cv2.BORDER_REFLECT)
    return first.astype(np.uint8), second.astype(np.uint8)


def _opencv(first: np.ndarray, second: np.ndarray, **parameters: float) -> np.ndarray:
    return cv2.calcOpticalFlowFarneback(first, second, None, **(FARNEBACK | parameters), flags=0)


def _on_device(image: np.ndarray, batch_size: int = 1) -> jax.Array:
    return jnp.repeat(jnp.asarray(image, jnp.float32)[None, ..., None], batch_size, 0)


def _agreement(name: str, pairs: list[Pair], parameters: dict[str, float]) -> dict[str, object]:
    """The worst pair's mean and largest end-point errors."""
    errors = [
        np.linalg.norm(
            farneback(*map(_on_device, pair), **parameters)[0] - _opencv(*pair, **parameters),
            axis=-1,
        )
        for pair in pairs
    ]
    return {
        "pictures": name,
        "pairs": len(pairs),
        "parameters": ", ".join(f"{key} {value}" for key, value in parameters.items()) or "default",
        "mean error, px": f"{max(error.mean() for error in errors):.1e}",
        "largest error, px": f"{max(error.max() for error in errors):.1e}",
    }


def _speed(size: tuple[int, int], batch_size: int) -> dict[str, object]:
    height, width = size
    pair = _streets_pair(height, width)
    arrays = [_on_device(image, batch_size) for image in pair]
    timings = measure.time_in_turn(
        {
            "OpenCV": lambda: [_opencv(*pair) for _ in range(batch_size)],
            "ours": functools.partial(farneback, *arrays),
            "ours with gradient": functools.partial(_gradient, *arrays),
        },
        num_measurements=5,
    )
    pairs_per_second = {
        f"{name}, pairs/s": round(batch_size / timing.median, 1) for name, timing in timings.items()
    }
    work = farneback.lower(*arrays).compile().cost_analysis()["flops"] / batch_size
    return {
        "size": f"{width}x{height}",
        "batch": batch_size,
        **timings,
        **pairs_per_second,
        "GFLOP per pair": round(work / 1e9, 2),
    }


@jax.jit
def _gradient(first: jax.Array, second: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.grad(lambda *pair: jnp.abs(farneback(*pair)).mean(), argnums=(0, 1))(first, second)


if __name__ == "__main__":
    main()
