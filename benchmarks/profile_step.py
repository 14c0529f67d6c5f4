"""A profile of the train step: its ten most expensive kinds of operations.

    python -m benchmarks.profile_step [--sizes 512x256:64] [--dtype bfloat16] [--video]
        [--top 10] [--output DIR]

The step is that of configs/cityscapes.py (with --video of configs/cityscapes_video.py), with random
weights. JAX's profiler records a few steps; its trace is read here, TensorBoard is not needed.
Operations of one kind are those with the compiler's same word, the same shape of result and the
same place in layers that differ in their numbers only, for which a * stands. `where` is the
function or layer that they come from; of those that the compiler does not know it of any more, that
of what uses their result. Times are sums over all threads or streams, per step; what an operation
spends in others that it calls is not counted as its own.
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
from benchmarks.hlo import read_statement

_PLACE = re.compile(r'op_name="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Instruction:
    """Of a compiled program.

    Attributes:
        result: its type and shape, such as 'f32[1,64,128,32]'.
        place: the function or layer that it comes from, '-' if unknown.
    """

    result: str
    place: str


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
    instructions = read_instructions(step.program())
    rows = rows_of(costs, instructions, options.top, options.num_steps)
    rows = [shared | row for row in rows]
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


def read_instructions(text: str) -> dict[str, Instruction]:
    """The instructions of a compiled program, by name, from its text (optimized HLO)."""
    found, places, users = {}, {}, {}
    for statement in filter(None, map(read_statement, text.splitlines())):
        found[statement.name] = re.sub(r"\{[^}]*\}|/\*[^*]*\*/", "", statement.result)
        if place := _PLACE.search(statement.rest):
            places[statement.name] = re.sub(r"\bjit\(\w+\)/", "", place[1])
        for operand in statement.operands:
            users.setdefault(operand, statement.name)

    def place_of(name: str) -> str:
        while name in users and name not in places:
            name = users[name]  # of what comes later in the program: this ends
        return places.get(name, "-")

    return {name: Instruction(result, place_of(name)) for name, result in found.items()}


def rows_of(
    costs: dict[str, _Cost], instructions: dict[str, Instruction], top: int, num_steps: int
) -> list[dict[str, object]]:
    """The `top` dearest kinds of operations, and all others as one row."""
    kinds = collections.defaultdict(dict)
    for name, cost in costs.items():
        instruction = instructions.get(name, Instruction("-", "-"))
        operation = re.sub(r"[.\d]+$", "", name)
        kind = operation, instruction.result, re.sub(r"\d+", "*", instruction.place)
        kinds[kind][name] = instruction.place, cost
    total = sum(cost.own for cost in costs.values())
    ranked = sorted(kinds.items(), key=lambda kind: -sum(cost.own for _, cost in kind[1].values()))
    rows = []
    for (operation, result, place), members in ranked[:top]:
        places = {place for place, _ in members.values()}
        where = places.pop() if len(places) == 1 else place
        members = [cost for _, cost in members.values()]
        rows.append(_row(operation, result, where, members, total, num_steps))
    others = [cost for _, members in ranked[top:] for _, cost in members.values()]
    return [*rows, _row("all others", "-", "-", others, total, num_steps)]


def _row(
    operation: str, result: str, where: str, costs: list[_Cost], total: float, num_steps: int
) -> dict[str, object]:
    own = sum(cost.own for cost in costs)
    return {
        "operation": operation,
        "result": result,
        "number": len(costs),
        "ms per step": round(own / 1e3 / num_steps, 3),
        "of all": f"{own / total:.1%}",
        "calls per step": round(sum(cost.calls for cost in costs) / num_steps, 1),
        "where": where,
    }


if __name__ == "__main__":
    main()
