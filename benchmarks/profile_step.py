"""A profile of the train step: its ten most expensive operations.

    python -m benchmarks.profile_step [--sizes 512x256:64] [--dtype bfloat16] [--video]
        [--top 10] [--output DIR]

The step is that of configs/cityscapes.py (with --video of configs/cityscapes_video.py), with random
weights. JAX's profiler records a few steps; its trace is read here, TensorBoard is not needed.
Operations carry the compiler's names, which say whether they were fused; `where` is the function
or layer that they come from, where the compiler still knows it. Times are sums over all threads
or streams, per step; what an operation spends in others that it calls is not counted as its own.
"""

import argparse
import collections
import dataclasses
import gzip
import json
import pathlib
import re
import tempfile
from collections.abc import Iterable

import jax

from benchmarks import measure, steps
from benchmarks import options as options_lib


@dataclasses.dataclass
class _Cost:
    """Of one operation over all steps, in microseconds."""

    own: float = 0.0
    calls: int = 0


def main() -> None:
    """Profiles the first size and batch size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options_lib.add_shared(parser, "profile_step", "512x256:64", batch_sizes="1")
    parser.add_argument("--video", action="store_true")
    parser.add_argument("--top", type=int, default=10)
    parser.add_argument("--num_steps", type=int, default=3)
    options = parser.parse_args()
    size, batch_size = options.sizes[0], options.batch_sizes[0]
    config = steps.make_config(*size, options.dtype, options.set)
    if options.video:
        config = steps.as_video(config)
    step = steps.OurStep(config, steps.random_batch(config, batch_size))
    costs = read_costs(_trace(step, options.num_steps))
    shared = options_lib.columns(options, size, batch_size)
    rows = [shared | row for row in _rows(costs, step.places(), options)]
    measure.report(options.name, rows, options.output)


def _trace(step: steps.OurStep, num_steps: int) -> list[dict]:
    """The events that the profiler records of so many steps."""
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(steps.repeat(step, num_steps)())
        (path,) = pathlib.Path(folder).rglob("*.trace.json.gz")
        return json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]


def read_costs(events: Iterable[dict]) -> dict[str, _Cost]:
    """The operations of a trace, each with the time that it does not spend in others.

    Args:
        events: of Chrome's trace format, as JAX's profiler writes them.

    Returns:
        For each name that the compiler gave ('hlo_op' among its arguments), calls and time.
    """
    threads, streams = collections.defaultdict(list), set()
    for event in events:
        thread = event.get("pid"), event.get("tid")
        if event.get("name") == "thread_name" and "Stream" in event["args"]["name"]:
            streams.add(thread)
        if event.get("ph") == "X" and "hlo_op" in event.get("args", {}):
            threads[thread].append(event)
    # On a GPU the profiler shows what runs on its streams a second time, as rows of its own.
    threads = {key: value for key, value in threads.items() if not streams or key in streams}
    costs = collections.defaultdict(_Cost)
    for thread in threads.values():
        # An event lies inside another of its thread or beside it: enclosing ones come first.
        thread.sort(key=lambda event: (event["ts"], -event["dur"]))
        enclosing = []
        for event in thread:
            while enclosing and enclosing[-1]["ts"] + enclosing[-1]["dur"] <= event["ts"]:
                enclosing.pop()
            if enclosing:
                costs[enclosing[-1]["args"]["hlo_op"]].own -= event["dur"]
            cost = costs[event["args"]["hlo_op"]]
            cost.own += event["dur"]
            cost.calls += 1
            enclosing.append(event)
    return dict(costs)


def _rows(
    costs: dict[str, _Cost], places: dict[str, str], options: argparse.Namespace
) -> list[dict[str, object]]:
    total = sum(cost.own for cost in costs.values())
    ranked = sorted(costs.items(), key=lambda item: -item[1].own)
    rows = []
    for name, cost in ranked[: options.top]:
        rows.append(_row(name, places.get(name, "-"), cost.own, cost.calls, total, options))
    others = [cost for _, cost in ranked[options.top :]]
    own, calls = sum(cost.own for cost in others), sum(cost.calls for cost in others)
    return [*rows, _row(f"{len(others)} others", "-", own, calls, total, options)]


def _row(
    name: str, place: str, own: float, calls: int, total: float, options: argparse.Namespace
) -> dict[str, object]:
    return {
        "operation": name,
        "ms per step": round(own / 1e3 / options.num_steps, 3),
        "of all": f"{own / total:.1%}",
        "calls per step": round(calls / options.num_steps, 1),
        "where": re.sub(r"\bjit\(\w+\)/", "", place),
    }


if __name__ == "__main__":
    main()
