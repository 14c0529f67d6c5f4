"""Runs every benchmark at sizes that this machine bears within ten minutes.

    python -m benchmarks.run_all [--pix2pixhd CHECKOUT] [--pytorch_fid CHECKOUT] [--minutes 10]
        [--peak_tflops 790] [--output DIR]

On a GPU the sizes of the paper in bfloat16, on a CPU small ones in float32. Each benchmark runs in
a process of its own, the most important first; one that fails or has no time left is named at the
end, and the others go on. Single benchmarks take further options: see their `--help`. TensorFlow is
not needed.
"""

import argparse
import os
import pathlib
import signal
import subprocess
import sys
import time

# A process that holds the GPU's memory would starve those that it starts.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

_GPU = (
    "train_step --sizes=512x256:64 --batch_sizes=1,8 --dtype=bfloat16",
    "sampling --sizes=512x256:64 --batch_sizes=1,32 --dtype=bfloat16",
    "profile_step --sizes=512x256:64 --dtype=bfloat16",
    "input_pipeline --sizes=512x256:64 --dtype=bfloat16 --num_steps=20",
    "train_step --sizes=768x384:64 --dtype=bfloat16 --rows=image,video --name=train_step_768",
    "train_step --sizes=1024x512:32 --dtype=bfloat16 --rows=image --name=train_step_1024 "
    "--set=generator.kind=local",
    "train_step --sizes=1024x512:32 --dtype=bfloat16 --rows=image --name=train_step_1024_remat "
    "--set=generator.kind=local,generator.remat=True",
    "optical_flow",
    "prepare --num_examples=2",
)
_CPU = (
    "train_step --sizes=128x64:16 --variants=eager,channels_last",
    "sampling --sizes=128x64:32 --batch_sizes=1,4 --variants=eager,channels_last "
    "--num_measurements=3",
    "profile_step --sizes=128x64:16",
    "input_pipeline --sizes=128x64:16",
    "prepare --num_examples=2 --num_measurements=3",
    "startup --num_measurements=1",
    "optical_flow",
)
_WITH_PIX2PIXHD = ("train_step", "sampling")
_WITH_PEAK = ("train_step",)


def main() -> None:
    """Runs all and exits with status 1 if any did not end well."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pix2pixhd", type=pathlib.Path, metavar="CHECKOUT")
    parser.add_argument("--pytorch_fid", type=pathlib.Path, metavar="CHECKOUT")
    parser.add_argument("--peak_tflops", type=float, help="the device's limit, for a share of it")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    failures = []
    for command in _commands(options):
        print(f"\n== {' '.join(command)}", flush=True)
        start = time.monotonic()
        outcome = _run(command, end - start)
        print(f"== {outcome}, {time.monotonic() - start:.0f} s", flush=True)
        if outcome != "done":
            failures.append(f"{' '.join(command)}: {outcome}")
    if failures:
        sys.exit("\nnot measured:\n  " + "\n  ".join(failures))


def _commands(options: argparse.Namespace) -> list[list[str]]:
    commands = []
    for line in _CPU if _platform() == "cpu" else _GPU:
        name, *arguments = line.split()
        if options.pix2pixhd and name in _WITH_PIX2PIXHD and "--rows=image" not in line:
            arguments.append(f"--pix2pixhd={options.pix2pixhd}")
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
