"""Exported generators beside sampling: the time of a batch, from uint8 to uint8 on the host.

    python -m benchmarks.exported [--sizes 256x128:32] [--batch_sizes 1,8] [--output DIR]

`sampling` is what `sflow_jax.sample` runs between reading and writing files. The networks are
those of configs/streets.py, at their own size and at those that are asked for, with random weights:
time does not depend on them. ONNX is left out where onnxruntime is not installed.
"""

import argparse
import importlib.util
from collections.abc import Callable

import jax
import jax.export
import ml_collections
import numpy as np

from benchmarks import measure, steps
from benchmarks import options as options_lib
from configs import streets
from sflow_jax.exporting.onnx_file import to_onnx
from sflow_jax.exporting.sampler import Sampler, make_sampler
from sflow_jax.exporting.stablehlo import to_stablehlo
from sflow_jax.inference import TrainedModel, create_model
from sflow_jax.methods import create_method

Run = Callable[..., np.ndarray]


def main() -> None:
    """Measures every size with every batch size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options_lib.add_cases(parser, "exported", "128x64:32", batch_sizes="1,8", dtype="float32")
    parser.add_argument("--num_measurements", type=options_lib.at_least(2), default=5)
    options = parser.parse_args()
    rows = []
    for size in options.sizes:
        programs = _programs(_make_model(size, options.dtype), size)
        for batch_size in options.batch_sizes:
            arrays = _random_arrays(size, batch_size)
            functions = {
                name: lambda run=run, arrays=arrays: run(*arrays) for name, run in programs.items()
            }
            for name, timing in measure.time_in_turn(functions, options.num_measurements).items():
                rows.append(
                    {
                        "program": name,
                        **options_lib.columns(options, size, batch_size),
                        "time of a batch": timing,
                        "frames/s": round(batch_size / timing.median, 2),
                    }
                )
    measure.report(options.name, rows, options.output)


def _make_model(size: options_lib.Size, dtype: str) -> TrainedModel:
    config: ml_collections.ConfigDict = streets.get_config()
    config.data.height, config.data.width, config.generator.width = size
    config.train.compute_dtype = dtype
    config.generator.palette = "none"
    method = create_method(config, steps.CLASS_TABLE, steps.SCHEDULE)
    params, _ = jax.jit(method.init)(jax.random.key(0))
    model = create_model(config, steps.CLASS_TABLE, method, "")
    return model.at_step(steps.SCHEDULE.num_steps, params)


def _programs(model: TrainedModel, size: options_lib.Size) -> dict[str, Run]:
    sampler = make_sampler(model)
    programs: dict[str, Run] = {
        "sampling": lambda label, frame, weights: np.asarray(
            model.translate(label, frame, weights=weights)["picture"]
        )
    }
    content = to_stablehlo(sampler, {}).content
    exported = jax.jit(jax.export.deserialize(bytearray(content)).call)
    programs["StableHLO"] = lambda *arrays: np.asarray(exported(*arrays))
    if importlib.util.find_spec("onnxruntime"):
        programs["ONNX"] = _onnx(sampler, size)
    return programs


def _onnx(sampler: Sampler, size: options_lib.Size) -> Run:
    import onnxruntime

    content = to_onnx(sampler, {"h": size[0], "w": size[1]}).content
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = list(sampler.inputs)
    return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]


def _random_arrays(size: options_lib.Size, batch_size: int) -> list[np.ndarray]:
    random, (height, width, _) = np.random.RandomState(0), size
    shape = batch_size, height, width
    label = random.randint(0, steps.NUM_CLASSES, (*shape, 1)).astype(np.uint8)
    frame = random.randint(0, 256, (*shape, 3)).astype(np.uint8)
    return [label, frame, np.full(6, 1 / 6, np.float32)]


if __name__ == "__main__":
    main()
