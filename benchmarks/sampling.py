"""Translation with a generator: frames/s in batches, and the time of a single frame.

    python -m benchmarks.sampling [--pix2pixhd CHECKOUT] [--sizes 512x256:64] [--dtype bfloat16]
        [--batch_sizes 8] [--output DIR]

`S-Flow GAN` is what `sflow_jax.sample` does between reading and writing files, DNED included;
`streets` is that with the networks of configs/streets.py at their own size. `generator` is
pix2pixHD's alone, of labels only, ours and (with a checkout) PyTorch's; with `--dtype bfloat16`
PyTorch runs under autocast. All rows of a size and batch size take turns.

Everything goes from uint8 arrays on the host to uint8 images on the host. A batch of one is waited
for: the latency of a frame. Larger batches are fetched one late, so that a device computes while
results travel. Weights are random: time does not depend on them.
"""

import argparse
import os
import sys
from collections.abc import Callable

# PyTorch shares the GPU with JAX.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from benchmarks import measure, pix2pixhd, steps
from benchmarks import options as options_lib
from configs import streets
from sflow_jax.inference import make_translate
from sflow_jax.training.state import create_networks, init_params

_BATCHES = 4  # per measurement where they are fetched one late

Program = tuple[Callable[..., object], Callable[[object], np.ndarray]]
"""Starts a batch of (label, edge_image), and fetches what that gives."""


def main() -> None:
    """Measures every size with every batch size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options_lib.add_shared(parser, "sampling", "512x256:64", batch_sizes="1,8")
    options = parser.parse_args()
    if options.pix2pixhd:
        pix2pixhd.start(options.pix2pixhd, options.torch_threads)
    rows = []
    for batch_size in options.batch_sizes:
        for size in options.sizes:
            config = steps.make_config(*size, options.dtype, options.set)
            rows += _measure(options, _programs(options, config), config, batch_size)
        config = streets.get_config()
        config.train.compute_dtype = options.dtype
        rows += _measure(options, {"streets": _translate(config)}, config, batch_size)
    measure.report(options.name, rows, options.output)


def _programs(options: argparse.Namespace, config: ml_collections.ConfigDict) -> dict[str, Program]:
    programs = {"S-Flow GAN": _translate(config), "generator, ours": _our_generator(config)}
    for variant in options.variants if options.pix2pixhd else ():
        start, fetch = pix2pixhd.make_generator(config, steps.NUM_CLASSES, variant)
        name = f"generator, PyTorch {pix2pixhd.version()} {variant}"
        programs[name] = (lambda label, _, start=start: start(label)), fetch
    return programs


def _translate(config: ml_collections.ConfigDict) -> Program:
    networks = create_networks(config, steps.NUM_CLASSES)
    params = jax.jit(lambda: init_params(networks, config)[0])()
    translate = make_translate(networks, config)
    return lambda *arrays: translate(params, *jax.device_put(arrays))["picture"], np.asarray


def _our_generator(config: ml_collections.ConfigDict) -> Program:
    config = steps.as_pix2pixhd(config)
    generator = create_networks(config, steps.NUM_CLASSES).generator
    label_map = jnp.zeros((1, 64, 64, steps.NUM_CLASSES))
    params = jax.jit(generator.init)(jax.random.key(0), label_map)

    @jax.jit
    def generate(params: dict, label: jax.Array) -> jax.Array:
        label_map = jax.nn.one_hot(label[..., 0], steps.NUM_CLASSES)
        return jnp.round((generator.apply(params, label_map) + 1) * 127.5).astype(jnp.uint8)

    return lambda label, _: generate(params, jax.device_put(label)), np.asarray


def _measure(
    options: argparse.Namespace,
    programs: dict[str, Program],
    config: ml_collections.ConfigDict,
    batch_size: int,
) -> list[dict[str, object]]:
    batch = steps.random_batch(config, batch_size)
    arrays = batch["label"][:, 0], batch["image"][:, 0]
    num_batches = 1 if batch_size == 1 else _BATCHES
    functions = {}
    for name, program in programs.items():
        function = _in_turn(*program, arrays, num_batches)
        try:
            function()
            functions[name] = function
        except Exception as error:  # whatever a compiler or a full memory raises
            reason = str(error).strip().partition("\n")[0]
            print(f"failed: {name}: {type(error).__name__}: {reason}", file=sys.stderr)
    size = config.data.height, config.data.width, config.generator.width
    rows = []
    for name, timing in measure.time_in_turn(functions, options.num_measurements).items():
        timing = timing.divided_by(num_batches)
        rows.append(
            {
                "program": name,
                **options_lib.columns(options, size, batch_size),
                "time of a batch": timing,
                "frames/s": round(batch_size / timing.median, 2),
            }
        )
    return rows


def _in_turn(
    start: Callable, fetch: Callable, arrays: tuple[np.ndarray, np.ndarray], num_batches: int
) -> Callable[[], np.ndarray]:
    def run() -> np.ndarray:
        waiting = start(*arrays)
        for _ in range(num_batches - 1):
            waiting, done = start(*arrays), waiting
            fetch(done)
        return fetch(waiting)

    return run


if __name__ == "__main__":
    main()
