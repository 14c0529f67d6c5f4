"""Runs every benchmark at sizes that this machine bears within ten minutes.

    python -m benchmarks.run_all [--pix2pixhd CHECKOUT] [--pytorch_fid CHECKOUT] [--minutes 10]
        [--peak_tflops 790] [--output DIR]

On a GPU the sizes of the paper in bfloat16, on a CPU small ones in float32. Each benchmark runs in
a process of its own, the most important first; one that fails, or takes three minutes, or has no
time left is named at the end, and the others go on. Single benchmarks take further options: see
their `--help`. TensorFlow is not needed.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time

# A process that holds the GPU's memory would starve those that it starts.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

from benchmarks import options as options_lib

_PAIR_ON_GPU = "--rows=pair --variants=eager,channels_last+compile"
_LOCAL = "--set=generator.kind=local,discriminator.width=64,dned.width=64"
_GPU = (
    "train_step --sizes=512x256:64 --batch_sizes=8 --dtype=bfloat16 --rows=image,video",
    "sampling --sizes=512x256:64 --batch_sizes=1,32 --dtype=bfloat16 "
    "--variants=channels_last+compile",
    f"train_step --sizes=512x256:64 --batch_sizes=8 --dtype=bfloat16 {_PAIR_ON_GPU} "
    "--name=train_step_pair",
    "train_step --sizes=512x256:64 --batch_sizes=1 --dtype=bfloat16 --rows=image,video "
    "--name=train_step_batch_1",
    f"train_step --sizes=512x256:64 --batch_sizes=1 --dtype=bfloat16 {_PAIR_ON_GPU} "
    "--name=train_step_pair_batch_1",
    "profile_step --sizes=512x256:64 --dtype=bfloat16",
    "input_pipeline --sizes=512x256:64 --dtype=bfloat16 --num_steps=20",
    f"train_step --sizes=1024x512:32 --dtype=bfloat16 --rows=image --name=train_step_1024 {_LOCAL}",
    "train_step --sizes=1024x512:32 --dtype=bfloat16 --rows=image --name=train_step_1024_remat "
    f"{_LOCAL},generator.remat=True",
    "train_step --sizes=768x384:64 --dtype=bfloat16 --rows=image,video --name=train_step_768",
    "optical_flow",
    "prepare --num_examples=2",
    "startup --num_measurements=1",
    "convolutions --sizes=512x256:64 --dtype=bfloat16",
)
_CPU = (
    "train_step --sizes=128x64:16 --variants=eager,channels_last",
    "sampling --sizes=128x64:32 --batch_sizes=1,4 --variants=eager,channels_last "
    "--num_measurements=3",
    "profile_step --sizes=128x64:16",
    "input_pipeline --sizes=128x64:16",
    "prepare --num_examples=2 --num_measurements=3",
    "startup --num_measurements=1",
    "optical_flow --batch_sizes=1",
    "convolutions --sizes=128x64:32",
)
_WITH_PEAK = ("train_step",)
_LONGEST = 180  # seconds of one command, so that one that hangs does not take the time of all


def main() -> None:
    """Runs all and exits with status 1 if any did not end well."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pix2pixhd", type=options_lib.pix2pixhd_checkout, metavar="CHECKOUT")
    parser.add_argument("--pytorch_fid", type=options_lib.pytorch_fid_checkout, metavar="CHECKOUT")
    parser.add_argument("--peak_tflops", type=float, help="the device's limit; measured by default")
    parser.add_argument("--minutes", type=float, default=10)
    options_lib.add_output(parser)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as compiled:
        # What one of them compiled, the others need not.
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", compiled)
        failures = _run_in_order(_commands(options), time.monotonic() + 60 * options.minutes)
    if failures:
        sys.exit("\nnot measured:\n  " + "\n  ".join(failures))


def _run_in_order(commands: list[list[str]], end: float) -> list[str]:
    failures = []
    for command in commands:
        print(f"\n== {' '.join(command)}", flush=True)
        start = time.monotonic()
        outcome = _run(command, min(end - start, _LONGEST))
        print(f"== {outcome}, {time.monotonic() - start:.0f} s", flush=True)
        if outcome != "done":
            failures.append(f"{' '.join(command)}: {outcome}")
    return failures


def _commands(options: argparse.Namespace) -> list[list[str]]:
    commands = []
    for line in _CPU if _platform() == "cpu" else _GPU:
        name, *arguments = line.split()
        if options.pix2pixhd and "--variants" in line:  # what of PyTorch to run beside ours
            arguments.append(f"--pix2pixhd={options.pix2pixhd}")
        if options.pix2pixhd and name == "convolutions":
            arguments.append("--pytorch")
        if options.peak_tflops and name in _WITH_PEAK:
            arguments.append(f"--peak_tflops={options.peak_tflops}")
        commands.append([name, *arguments])
    if options.pytorch_fid:
        commands.append(["fid", f"--pytorch_fid={options.pytorch_fid}"])
    return [[*command, f"--output={options.output}"] for command in commands]


def _platform() -> str:
    """JAX's, asked in a process of its own, which gives the device back."""
    code = "import jax; print(jax.default_backend())"
    output = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True).stdout
    return output.decode().split()[-1]


def _run(command: list[str], seconds: float) -> str:
    """'done', or why not."""
    name, *arguments = command
    if seconds <= 0:
        return "no time left"
    # In a group of its own, so that processes which it started end with it.
    process = subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments], start_new_session=True
    )
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return "no time left to end"
    return f"failed with status {status}" if status else "done"


if __name__ == "__main__":
    main()
