"""Options that benchmarks of networks share."""

import argparse
import ast
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from benchmarks import pix2pixhd

Size = tuple[int, int, int]


def add_shared(parser: argparse.ArgumentParser, name: str, sizes: str, batch_sizes: str) -> None:
    """Adds the options of peers and repetitions, and those of `add_cases`."""
    parser.add_argument("--pix2pixhd", type=pathlib.Path, metavar="CHECKOUT")
    variants = list(pix2pixhd.VARIANTS)
    parser.add_argument("--variants", type=words, default=variants, metavar="A,B,A+B")
    parser.add_argument("--torch_threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--num_measurements", type=int, default=5)
    add_cases(parser, name, sizes, batch_sizes, "float32")


def add_cases(
    parser: argparse.ArgumentParser, name: str, sizes: str, batch_sizes: str, dtype: str
) -> None:
    """Adds the options of sizes, types and results.

    Args:
        parser: gets the options.
        name: of the JSON file, by default.
        sizes: by default.
        batch_sizes: by default.
        dtype: by default.
    """
    parser.add_argument("--sizes", type=_sizes, default=_sizes(sizes), metavar="WxH:NGF,...")
    parser.add_argument("--batch_sizes", type=_integers, default=_integers(batch_sizes))
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default=dtype)
    parser.add_argument("--set", type=_changes, default={}, metavar="FIELD=VALUE,...")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("benchmarks/results"))
    parser.add_argument("--name", default=name, help="of the JSON file")


def add_rows(parser: argparse.ArgumentParser, rows: Sequence[str]) -> None:
    """Adds `--rows`: some of `rows`, all by default; others are refused before any work."""

    def some(text: str) -> list[str]:
        found = words(text)
        if unknown := set(found) - set(rows):
            raise argparse.ArgumentTypeError(f"found {unknown.pop()!r}, expected some of {rows}")
        return found

    parser.add_argument("--rows", type=some, default=list(rows), metavar="A,B")


def words(text: str) -> list[str]:
    """'a,b' as a list."""
    return text.split(",")


def columns(options: argparse.Namespace, size: Size, batch_size: int) -> dict[str, object]:
    """What the rows of one case have in common: size, width, batch size and type."""
    height, width, channels = size
    shared = {
        "size": f"{width}x{height}",
        "ngf": channels,
        "batch": batch_size,
        "type": options.dtype,
    }
    if options.set:
        shared["set"] = ", ".join(f"{field} {value}" for field, value in options.set.items())
    return shared


def _integers(text: str) -> list[int]:
    return [int(item) for item in text.split(",")]


def _sizes(text: str) -> list[Size]:
    """'512x256:64' as height, width and channels."""
    sizes = []
    for item in text.split(","):
        size, _, channels = item.partition(":")
        width, _, height = size.partition("x")
        sizes.append((int(height), int(width), int(channels)))
    return sizes


def _changes(text: str) -> dict[str, Any]:
    pairs = (item.partition("=") for item in text.split(","))
    return {field: _value(value) for field, _, value in pairs}


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except ValueError:
        return text  # a word
