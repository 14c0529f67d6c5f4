"""Translation with a generator: frames/s in batches, and the time of a single frame.

    python -m benchmarks.sampling [--pix2pixhd CHECKOUT] [--sizes 512x256:64] [--dtype bfloat16]
        [--batch_sizes 8] [--output DIR]

`S-Flow GAN` is what `sflow_jax.sample` does between reading and writing files, DNED included;
`streets` is that with the networks of configs/streets.py at their own size. `generator` is
pix2pixHD's alone, of labels only, ours and (with a checkout) PyTorch's; with `--dtype bfloat16`
PyTorch runs under autocast. All rows of a size and batch size take turns.

Everything goes from uint8 arrays on the host to uint8 images on the host. A batch of one is waited
for: the latency of a frame. Larger batches are fetched one late, so that a device computes while
results travel. Weights are random: time does not depend on them. The limit is what a product of
large matrices of that type reaches, measured before; the share of it is of the convolutions'
operations, counted by hand.
"""

import argparse
import dataclasses
import os
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
from sflow_jax.methods import create_method
from sflow_jax.methods.base import Method
from sflow_jax.training.cost import matrix_limit, network_flops

_BATCHES = 4  # per measurement where they are fetched one late


@dataclasses.dataclass(frozen=True)
class Program:
    """Something that translates batches.

    Attributes:
        start: a batch of (label, edge_image).
        fetch: what that gives, as an array on the host.
        gflop: operations per frame, counted by hand.
    """

    start: Callable[..., object]
    fetch: Callable[[object], np.ndarray]
    gflop: float


def main() -> None:
    """Measures every size with every batch size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options_lib.add_shared(parser, "sampling", "512x256:64", batch_sizes="1,8")
    options = parser.parse_args()
    if options.pix2pixhd:
        pix2pixhd.start(options.pix2pixhd, options.torch_threads)
    limit = matrix_limit(options.dtype) / 1e12
    rows = []
    for batch_size in options.batch_sizes:
        for size in options.sizes:
            config = steps.make_config(*size, options.dtype, options.set)
            rows += _measure(options, _makers(options, config), config, batch_size, limit)
        config = streets.get_config()
        config.train.compute_dtype = options.dtype
        makers = {"streets": lambda config=config: _translate(config)}
        rows += _measure(options, makers, config, batch_size, limit)
    measure.report(options.name, rows, options.output)


def _makers(
    options: argparse.Namespace, config: ml_collections.ConfigDict
) -> dict[str, Callable[[], Program]]:
    makers = {
        "S-Flow GAN": lambda: _translate(config),
        "generator, ours": lambda: _our_generator(config),
    }
    for variant in options.variants if options.pix2pixhd else ():
        name = f"generator, PyTorch {pix2pixhd.version()} {variant}"
        makers[name] = lambda variant=variant: _their_generator(config, variant)
    return makers


def _translate(config: ml_collections.ConfigDict) -> Program:
    method = create_method(config, steps.CLASS_TABLE, steps.SCHEDULE)
    params, _ = jax.jit(method.init)(jax.random.key(0))
    translate = jax.jit(method.translate)

    def start(*arrays: np.ndarray) -> jax.Array:
        return translate(params, *jax.device_put(arrays))["picture"]

    return Program(start, np.asarray, _gflop(method, config, "generator", "dned"))


def _gflop(method: Method, config: ml_collections.ConfigDict, *names: str) -> float:
    """Of one forward pass of the named networks for one frame."""
    counts = network_flops(method, (config.data.height, config.data.width))
    return sum(counts[name] for name in names) / 1e9


def _our_generator(config: ml_collections.ConfigDict) -> Program:
    config = steps.as_pix2pixhd(config)
    method = create_method(config, steps.CLASS_TABLE, steps.SCHEDULE)
    generator = method.networks["generator"]
    label_map = jnp.zeros((1, 64, 64, steps.NUM_CLASSES))
    params = jax.jit(generator.init)(jax.random.key(0), label_map)

    @jax.jit
    def generate(params: dict, label: jax.Array) -> jax.Array:
        label_map = jax.nn.one_hot(label[..., 0], steps.NUM_CLASSES)
        return jnp.round((generator.apply(params, label_map) + 1) * 127.5).astype(jnp.uint8)

    gflop = _gflop(method, config, "generator")
    return Program(lambda label, _: generate(params, jax.device_put(label)), np.asarray, gflop)


def _their_generator(config: ml_collections.ConfigDict, variant: str) -> Program:
    start, fetch = pix2pixhd.make_generator(config, steps.NUM_CLASSES, variant)
    config = steps.as_pix2pixhd(config)  # ours is the same network
    gflop = _gflop(create_method(config, steps.CLASS_TABLE, steps.SCHEDULE), config, "generator")
    return Program(lambda label, _: start(label), fetch, gflop)


def _measure(
    options: argparse.Namespace,
    makers: dict[str, Callable[[], Program]],
    config: ml_collections.ConfigDict,
    batch_size: int,
    limit: float,
) -> list[dict[str, object]]:
    batch = steps.random_batch(config, batch_size)
    arrays = batch["label"][:, 0], batch["image"][:, 0]
    num_batches = 1 if batch_size == 1 else _BATCHES
    programs, functions = {}, {}
    for name, make in makers.items():
        try:
            program = make()
            function = _in_turn(program, arrays, num_batches)
            function()
        except Exception as error:  # whatever a compiler or a full memory raises
            measure.print_failure(name, error)
        else:
            programs[name], functions[name] = program, function
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
                "GFLOP/frame": round(programs[name].gflop, 1),
                **measure.beside_limit(programs[name].gflop * batch_size, timing, limit),
            }
        )
    return rows


def _in_turn(
    program: Program, arrays: tuple[np.ndarray, np.ndarray], num_batches: int
) -> Callable[[], np.ndarray]:
    def run() -> np.ndarray:
        waiting = program.start(*arrays)
        for _ in range(num_batches - 1):
            waiting, done = program.start(*arrays), waiting
            program.fetch(done)
        return program.fetch(waiting)

    return run


if __name__ == "__main__":
    main()
