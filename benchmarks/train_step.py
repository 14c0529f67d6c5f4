"""The whole train step, beside PyTorch running NVIDIA/pix2pixHD's code.

    python -m benchmarks.train_step [--pix2pixhd CHECKOUT] [--sizes 128x64:32,512x256:64]
        [--batch_sizes 1] [--dtype bfloat16] [--peak_tflops 790] [--output DIR]

Three kinds of rows (`--rows`), each size, width and batch size in a process of its own, so that
peak memory is that of its rows:

- `pair`: pix2pixHD's networks (global generator, one discriminator, no VGG19) as we and as PyTorch
  train them, taking turns in one process; PyTorch only with a checkout. With `--dtype bfloat16`
  PyTorch runs under autocast. Ours also keeps the moving average and gradient norms.
- `image` and `video`: S-Flow GAN's steps as configs/cityscapes.py and configs/cityscapes_video.py
  run them, also taking turns. VGG19's weights are random: time does not depend on their values. The
  flow operator is what eq. 8 and the mask cost, with the gradient, timed alone.

Batches lie on the device already. A measurement is of several steps (`--steps`), the first of which
finds the caches full of the other program's data; on a GPU they are waited for together.
GFLOP are those of our convolutions, counted by hand, with gradients to the inputs of first layers
although most of them are not needed (3 to 4 %), and for comparison all of our step as XLA counts it
before it optimizes (the body of a loop once: on a CPU that leaves out up to 28 %). TFLOP/s and
the share of the limit come from the count by hand, for PyTorch from the same one, so that they
compare useful work. The limit is what a product of large matrices of that type reaches, measured
before, unless `--peak_tflops` names another. `--set` changes fields of the config, such as
`--set generator.kind=local`. The table is written again after each size.
"""

import argparse
import itertools
import json
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile

# PyTorch shares the GPU with JAX, and peak memory is measured.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp

from benchmarks import measure, pix2pixhd, steps
from benchmarks import options as options_lib
from sflow_jax.methods.flow_terms import flow_terms
from sflow_jax.ops.pixels import to_float
from sflow_jax.training.cost import matrix_limit

ROWS = ("pair", "image", "video")

_SIZES = "128x64:32,256x128:32,512x256:64"
Row = dict[str, object]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The options, of the command line by default."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options_lib.add_shared(parser, "train_step", _SIZES, batch_sizes="1")
    options_lib.add_rows(parser, ROWS)
    parser.add_argument("--steps", type=int, help="per measurement; 3 on a CPU, 10 otherwise")
    parser.add_argument("--peak_tflops", type=float, help="the device's limit; measured by default")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Measures every case in a process of its own, and reports those that ended well."""
    options = parse()
    if options.case:
        case, result = json.loads(options.case)
        pathlib.Path(result).write_bytes(pickle.dumps(measure_case(options, *case)))
        return
    cases = list(itertools.product(_kinds(options), options.sizes, options.batch_sizes))
    rows, failures = [], 0
    for case in cases:
        result = _in_own_process(case)
        rows += result
        failures += not result
        if result:  # at once, as a later case may take longer than there is time
            measure.report(options.name, rows, options.output)
    sys.exit(failures > 0)


def measure_case(
    options: argparse.Namespace, kind: str, size: tuple[int, int, int], batch_size: int
) -> list[Row]:
    """The rows of one kind ('pair' or 'ours'), of one size (height, width, channels) and batch."""
    config = steps.make_config(*size, options.dtype, options.set)
    options.steps = options.steps or (3 if jax.default_backend() == "cpu" else 10)
    options.peak_tflops = options.peak_tflops or matrix_limit(options.dtype) / 1e12
    measure_kind = _measure_pair if kind == "pair" else _measure_ours
    rows = measure_kind(options, config, batch_size)
    shared = options_lib.columns(options, size, batch_size)
    return [{"step": row.pop("step"), **shared, **row} for row in rows]


def _kinds(options: argparse.Namespace) -> list[str]:
    return [
        kind
        for kind, rows in (("pair", {"pair"}), ("ours", {"image", "video"}))
        if rows & set(options.rows)
    ]


def _in_own_process(case: tuple) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        result = pathlib.Path(folder, "rows")
        arguments = [*sys.argv[1:], "--case", json.dumps([case, str(result)])]
        command = [sys.executable, "-m", "benchmarks.train_step", *arguments]
        print(f"measuring {case}", file=sys.stderr, flush=True)
        code = subprocess.run(command, check=False).returncode
        if code:
            print(f"failed with status {code}: {case}", file=sys.stderr)
            return []
        return pickle.loads(result.read_bytes())


def _measure_pair(options: argparse.Namespace, config, batch_size: int) -> list[Row]:
    config = steps.as_pix2pixhd(config)
    batch = steps.random_batch(config, batch_size)
    ours = steps.OurStep(config, batch)
    peers = _start_peers(options, config, batch) if options.pix2pixhd else {}
    functions = {"ours": ours} | {name: peer.function for name, peer in peers.items()}
    if options.pix2pixhd and not peers:
        raise SystemExit("no variant of PyTorch ran beside ours")
    timings = _time(options, functions)
    rows = [_our_row(options, "pix2pixHD, ours", ours, timings["ours"], batch_size)]
    rows[0] |= {"beside": _beside(1, "ours")}
    for name, peer in peers.items():
        row = _row(options, f"pix2pixHD, {name}", timings[name], ours, batch_size)
        # Its first step, less what every step takes.
        row["compile, s"] = round(max(0, peer.seconds - timings[name].median), 1)
        row["peak GiB"] = round(peer.peak_bytes / 2**30, 2) or "-"
        row["beside"] = _beside(timings[name].median / timings["ours"].median, "ours")
        rows.append(row)
    return rows


def _start_peers(options: argparse.Namespace, config, batch) -> dict[str, pix2pixhd.Start]:
    pix2pixhd.start(options.pix2pixhd, options.torch_threads)
    peers = {}
    for variant in options.variants:
        try:
            peers[f"PyTorch {pix2pixhd.version()} {variant}"] = pix2pixhd.Start(
                lambda variant=variant: pix2pixhd.make_train_step(
                    config, steps.NUM_CLASSES, batch, variant
                )
            )
        except Exception as error:  # whatever PyTorch's compiler or a full memory raises
            measure.print_failure(f"PyTorch {variant}", error)
    return peers


def _measure_ours(options: argparse.Namespace, config, batch_size: int) -> list[Row]:
    ours = {"image": steps.OurStep(config, steps.random_batch(config, batch_size))}
    functions = dict(ours)
    if "video" in options.rows:
        video = steps.as_video(config)
        batch = steps.random_batch(video, batch_size)
        ours["video"] = functions["video"] = steps.OurStep(video, batch)
        functions["flow"] = _flow_operator(video, batch)
    timings = _time(options, functions)
    rows = []
    if "image" in options.rows:
        row = _our_row(options, "S-Flow GAN, image", ours["image"], timings["image"], batch_size)
        rows.append(row | {"beside": "-"})
    if "video" in options.rows:
        row = _our_row(
            options, "S-Flow GAN, video", ours["video"], timings["video"], 2 * batch_size
        )
        ratio = timings["video"].median / timings["image"].median
        share = timings["flow"].median / timings["video"].median
        rows.append(row | {"beside": _beside(ratio, "image") + f", flow {share:.1%} of it"})
    return rows


def _flow_operator(config, batch):
    """What the video step spends on flow: that of the fake pair with its gradient, and the mask."""
    real = jax.device_put(to_float(batch["image"].reshape(-1, *batch["image"].shape[2:])))
    flow = jax.device_put(jnp.asarray(batch["flow"], jnp.float32))

    @jax.jit
    def gradient(fake: jax.Array, real: jax.Array, flow: jax.Array):
        def loss(fake: jax.Array):
            terms, measures = flow_terms(fake, real, flow, config.flow)
            return sum(terms.values()), measures

        return jax.grad(loss, has_aux=True)(fake)

    fake = 0.9 * real
    return lambda: gradient(fake, real, flow)


def _time(options: argparse.Namespace, functions: dict) -> dict[str, measure.Timing]:
    """Seconds per step of functions that take turns."""

    def waiting(function):
        def call():
            result = steps.repeat(function, options.steps)()
            if options.pix2pixhd and result is None:
                pix2pixhd.wait()
            return result

        return call

    timings = measure.time_in_turn(
        {name: waiting(function) for name, function in functions.items()}, options.num_measurements
    )
    return {name: timing.divided_by(options.steps) for name, timing in timings.items()}


def _our_row(
    options: argparse.Namespace,
    name: str,
    step: steps.OurStep,
    timing: measure.Timing,
    num_images: int,
) -> Row:
    row = _row(options, name, timing, step, num_images)
    row["compile, s"] = round(step.compile_seconds, 1)
    row["peak GiB"] = round(step.peak_bytes / 2**30, 2)
    return row


def _row(
    options: argparse.Namespace,
    name: str,
    timing: measure.Timing,
    step: steps.OurStep,
    num_images: int,
) -> Row:
    gflop = step.gflop_per_image * num_images
    return {
        "step": name,
        "time": timing,
        "images/s": round(num_images / timing.median, 2),
        "GFLOP/image": round(step.gflop_per_image, 1),
        "by XLA": round(step.xla_gflop_per_image, 1),
        **measure.beside_limit(gflop, timing, options.peak_tflops),
    }


def _beside(ratio: float, other: str) -> str:
    return f"{ratio:.2f} x {other}"


if __name__ == "__main__":
    main()
