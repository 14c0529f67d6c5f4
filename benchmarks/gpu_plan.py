"""What XLA plans for training and sampling on a GPU that need not be there.

    pip install "jax[cuda12]==$(python -c 'import jax; print(jax.__version__)')"
    python -m benchmarks.gpu_plan [--gpu H200] [--sizes 512x256:64] [--batch_sizes 1,8]
        [--rows image,video,sample] [--set generator.remat=True] [--output DIR]

The train step and the translation of frames are compiled ahead of time, as they would be on the
GPU, but for the choice among cuDNN's algorithms, which needs the device; their working memory is
not part of the plan. Columns: memory of the state with the batch, and of what is temporary; kernels
that a call starts, and those of them that are convolutions of cuDNN; gigabytes that all of them
read and write, with nothing from the cache. 'estimate' is no measurement: the convolutions at
`--peak_tflops` and every other kernel at `--bandwidth` (TB/s), one after the other, without what it
takes to start them. A real call takes longer.
"""

import argparse
import itertools
import os
import unittest.mock
from collections.abc import Callable, Sequence
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"  # what computes here; the GPU is only compiled for

import jax
import ml_collections
from jax.experimental import topologies

from benchmarks import gpu_kernels, measure, steps
from benchmarks import options as options_lib
from sflow_jax.methods import create_method
from sflow_jax.training.cost import forward_flops, step_flops
from sflow_jax.training.state import initial_state
from sflow_jax.training.step import make_train_step

# In the words of the other tables.
_ROWS = {"image": "step, image", "video": "step, pair of frames", "sample": "sampling"}

Program = tuple[jax.stages.Lowered, float]

# Memory in GB and its bandwidth in TB/s, by NVIDIA's data sheets; the rest is the same chip.
_GPUS = {"H100": (80, 3.35), "H200": (141, 4.8)}
_TARGET = """
platform_name: "CUDA"
device_description_str: "NVIDIA {name}"
dnn_version_info {{ major: 9 minor: 8 }}
runtime_version {{ major: 12 minor: 9 }}
gpu_device_info {{
  cuda_compute_capability {{ major: 9 }}
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  device_memory_size: {memory}
  memory_bandwidth: {bandwidth}
  l2_cache_size: 52428800
  shared_memory_per_core: 233472
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  threads_per_core_limit: 2048
  threads_per_block_limit: 1024
  threads_per_warp: 32
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
}}
"""


def main() -> None:
    """Compiles every case and prints the plans."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options_lib.add_networks(parser, "gpu_plan", "512x256:64", batch_sizes="1,8", dtype="bfloat16")
    options_lib.add_rows(parser, tuple(_ROWS))
    parser.add_argument("--gpu", choices=list(_GPUS), default="H200")
    parser.add_argument("--peak_tflops", type=float, default=790)
    parser.add_argument("--bandwidth", type=float, default=4.3, help="TB/s")
    options = parser.parse_args()
    try:
        device = find_device(options.gpu)
    except NotImplementedError:
        required = f'"jax[cuda12]=={jax.__version__}"'
        parser.error(
            f"JAX's compiler for NVIDIA's GPUs: found none, expected pip install {required}"
        )
    rows = []
    for kind, size, batch_size in itertools.product(
        options.rows, options.sizes, options.batch_sizes
    ):
        config = steps.make_config(*size, options.dtype, options.set)
        config = steps.as_video(config) if kind == "video" else config
        lower = lower_translation if kind == "sample" else lower_step
        plan = describe(lower(config, batch_size, device), options.peak_tflops, options.bandwidth)
        shared = options_lib.columns(options, size, batch_size)
        rows.append({"program": _ROWS[kind], "gpu": options.gpu, **shared, **plan})
    measure.report(options.name, rows, options.output)


def find_device(name: str) -> jax.Device:
    """A GPU to compile for.

    Raises:
        NotImplementedError: JAX's compiler for NVIDIA's GPUs is not installed.
    """
    memory, bandwidth = _GPUS[name]
    target = _TARGET.format(name=name, memory=memory * 10**9, bandwidth=int(bandwidth * 1e12))
    topology = topologies.get_topology_desc(name, "cuda", target_config=target, topology="1x1x1")
    return topology.devices[0]


def lower_step(config: ml_collections.ConfigDict, batch_size: int, device: jax.Device) -> Program:
    """The train step, lowered, and its TFLOP counted by hand."""
    method = steps.make_method(config)
    step = make_train_step(method, steps.SCHEDULE, config, axis_name=None)
    state = jax.eval_shape(lambda: initial_state(method, config, steps.SCHEDULE))
    placement = jax.sharding.SingleDeviceSharding(device)
    jitted = jax.jit(step, donate_argnums=0, in_shardings=placement)
    lowered = _lower(jitted, state, method.frozen_params, steps.random_batch(config, batch_size))
    by_hand = step_flops(method, (config.data.height, config.data.width))
    return lowered, sum(by_hand.values()) * batch_size * config.data.frames / 1e12


def lower_translation(
    config: ml_collections.ConfigDict, batch_size: int, device: jax.Device
) -> Program:
    """The translation of frames as sampling runs it, lowered, and its TFLOP counted by hand."""
    method = create_method(config, steps.CLASS_TABLE, steps.SCHEDULE)
    params, _ = jax.eval_shape(method.init, jax.random.key(0))
    batch = steps.random_batch(config, batch_size)
    frames = params, batch["label"][:, 0], batch["image"][:, 0]
    placement = jax.sharding.SingleDeviceSharding(device)
    lowered = _lower(jax.jit(method.translate, in_shardings=placement), *frames)
    return lowered, forward_flops(method.translate, *frames) / 1e12


def _lower(function: Callable, *arguments: Any) -> jax.stages.Lowered:
    # The layers choose their forms by the platform that JAX computes on.
    with unittest.mock.patch("jax.default_backend", return_value="gpu"):
        return function.lower(*arguments)


def describe(program: Program, peak_tflops: float, bandwidth: float) -> dict[str, object]:
    """The columns of one program."""
    lowered, tflop = program
    compiled = lowered.compile()
    memory = compiled.memory_analysis()
    kernels = gpu_kernels.parse(compiled.as_text())
    convolutions = [kernel for kernel in kernels if kernel.is_convolution]
    others = [kernel for kernel in kernels if not kernel.is_convolution]
    seconds = tflop / peak_tflops + _gigabytes(others) / (1e3 * bandwidth)
    return {
        "arguments GiB": round(memory.argument_size_in_bytes / 2**30, 2),
        "temporary GiB": round(memory.temp_size_in_bytes / 2**30, 2),
        "kernels": sum(kernel.num_calls for kernel in kernels),
        "convolutions": sum(kernel.num_calls for kernel in convolutions),
        "GB moved": round(_gigabytes(kernels), 1),
        "TFLOP": round(tflop, 2),
        "estimate": f"{1e3 * seconds:.1f} ms, {tflop / seconds / peak_tflops:.0%} of the limit",
    }


def _gigabytes(kernels: Sequence[gpu_kernels.Kernel]) -> float:
    return sum(kernel.num_bytes * kernel.num_calls for kernel in kernels) / 1e9


if __name__ == "__main__":
    main()
