"""FID beside pytorch-fid: features per second, peak memory and the time of the distance.

    python -m benchmarks.fid --pytorch_fid CHECKOUT [--num_images 64] [--output DIR]

Needs PyTorch and torchvision. Both programs get the same uint8 images, the same batch size and
random weights (speed does not depend on their values), each in a process of its own: peak memory is
that of the process, and on a GPU also that of the device. The images are in memory; reading files
is not measured. The limit is what JAX's product of large float32 matrices reaches; the share of it
is of the network's convolutions, counted by hand for 299x299 pixels. The distance is that of
Gaussians of 2048 dimensions from 4096 vectors.
"""

import argparse
import importlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import flax.traverse_util
import jax
import numpy as np

from benchmarks import measure
from benchmarks import options as options_lib
from sflow_jax.metrics.feature_statistics import FeatureExtractor
from sflow_jax.metrics.frechet import GaussianStream, frechet_distance
from sflow_jax.metrics.inception_input import PROTOCOLS
from sflow_jax.pretrained import inception_v3
from sflow_jax.training.cost import forward_flops, matrix_limit

_PROGRAMS = ("ours", "pytorch-fid")
_DIMENSIONS, _NUM_VECTORS = 2048, 4096
_NETWORK_SIZE = (299, 299)  # both resize to it


def main() -> None:
    """Runs both programs and prints their rows, or one of them and prints its row as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pytorch_fid",
        required=True,
        type=options_lib.pytorch_fid_checkout,
        metavar="CHECKOUT",
    )
    parser.add_argument("--num_images", type=int, default=64)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=options_lib.at_least(2), default=5)
    options_lib.add_output(parser)
    parser.add_argument("--program", choices=_PROGRAMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        print(json.dumps(_measure(options)))
        return
    # They take turns, so that whatever else the machine does hits both alike.
    rounds = [
        {name: _in_own_process(name, options) for name in _PROGRAMS} for _ in range(options.rounds)
    ]
    limit = statistics.median(results["ours"]["limit"] for results in rounds)
    rows = [_row(name, [results[name] for results in rounds], options, limit) for name in _PROGRAMS]
    measure.report("fid", rows, options.output)


def _in_own_process(program: str, options: argparse.Namespace) -> dict[str, float]:
    names = ("pytorch_fid", "num_images", "batch_size", "height", "width")
    arguments = [f"--{name}={getattr(options, name)}" for name in names]
    command = [sys.executable, "-m", "benchmarks.fid", *arguments, f"--program={program}"]
    sources = [str(options.pytorch_fid / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sources))}
    text = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout
    return json.loads(text.splitlines()[-1])


def _row(
    program: str, rounds: list[dict[str, float]], options: argparse.Namespace, limit: float
) -> dict[str, object]:
    timing = measure.summarize([result["features_seconds"] for result in rounds])
    median = {name: statistics.median(result[name] for result in rounds) for name in rounds[0]}
    return {
        "program": program,
        "images": f"{options.num_images} of {options.width}x{options.height}",
        "batch": options.batch_size,
        "features": timing,
        "images/s": round(options.num_images / timing.median, 2),
        **measure.beside_limit(_gflop_per_image() * options.num_images, timing, limit),
        "peak GiB": round(median["peak"] / 2**30, 2),
        "peak GiB on the GPU": round(median["gpu_peak"] / 2**30, 2) or "-",
        "distance, s": round(median["distance_seconds"], 1),
        "distance": round(median["distance"], 6),
    }


def _gflop_per_image() -> float:
    image = jax.ShapeDtypeStruct((1, *_NETWORK_SIZE, 3), np.float32)
    return forward_flops(inception_v3.features, _variables(), image) / 1e9


def _measure(options: argparse.Namespace) -> dict[str, float]:
    """One program's times in seconds, memory in bytes, and its distance between noises."""
    random = np.random.RandomState(0)
    shape = (options.num_images, options.height, options.width, 3)
    images = random.randint(0, 256, shape).astype(np.uint8)
    is_ours = options.program == "ours"
    extract = (_our_extractor if is_ours else _their_extractor)(images, options.batch_size)
    extract()  # compiles, or whatever comes first
    features_seconds, _ = _timed(extract)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    samples = [random.standard_normal((_NUM_VECTORS, _DIMENSIONS)) + shift for shift in (0, 0.1)]
    distance = _our_distance if is_ours else _their_distance
    distance_seconds, value = _timed(lambda: distance(*samples))
    return {
        "features_seconds": features_seconds,
        "peak": peak,
        "gpu_peak": _gpu_peak(options.program),
        "distance_seconds": distance_seconds,
        "distance": value,
        # After the rest, so that its matrices are not in the peak; of JAX for both.
        "limit": matrix_limit("float32") / 1e12 if is_ours else 0.0,
    }


def _timed(function: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def _our_extractor(images: np.ndarray, batch_size: int) -> Callable[[], object]:
    protocol = PROTOCOLS["pytorch-fid"]
    extractor = FeatureExtractor(inception_v3.features, _variables(), protocol, batch_size)
    return lambda: list(extractor.stream([images]))


def _variables() -> dict:
    shapes = inception_v3.conversion().shapes
    flat = {path: np.full(shape, 0.01, np.float32) for path, shape in shapes.items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def _their_extractor(images: np.ndarray, batch_size: int) -> Callable[[], object]:
    import torch

    module = importlib.import_module("pytorch_fid.inception")
    # Their download is replaced by what torchvision initializes.
    module.load_state_dict_from_url = lambda *_, **__: module._inception_v3(
        num_classes=1008, aux_logits=False, weights=None
    ).state_dict()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = module.InceptionV3().to(device).eval()

    def extract() -> None:
        for start in range(0, len(images), batch_size):
            batch = torch.from_numpy(images[start : start + batch_size])
            batch = batch.to(device).permute(0, 3, 1, 2).float() / 255
            with torch.no_grad():
                network(batch)[0].cpu()

    return extract


def _our_distance(first: np.ndarray, second: np.ndarray) -> float:
    streams = GaussianStream(), GaussianStream()
    for stream, features in zip(streams, (first, second), strict=True):
        stream.update(features)
    return frechet_distance(*(stream.gaussian() for stream in streams))


def _their_distance(first: np.ndarray, second: np.ndarray) -> float:
    fid_score = importlib.import_module("pytorch_fid.fid_score")
    moments = [(x.mean(0), np.cov(x, rowvar=False)) for x in (first, second)]
    return float(fid_score.calculate_frechet_distance(*moments[0], *moments[1]))


def _gpu_peak(program: str) -> int:
    """Bytes; 0 without a GPU."""
    if program == "ours":
        return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0)
    import torch

    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


if __name__ == "__main__":
    main()
