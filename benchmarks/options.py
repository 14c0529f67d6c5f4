"""Options that benchmarks of networks share."""

import argparse
import ast
import importlib.util
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import pix2pixhd, steps
from sflow_jax import configuration
from sflow_jax.errors import InputError, one_line

Size = tuple[int, int, int]


def add_shared(parser: argparse.ArgumentParser, name: str, sizes: str, batch_sizes: str) -> None:
    """Adds the options of peers and repetitions, and those of `add_networks`."""
    parser.add_argument("--pix2pixhd", type=pix2pixhd_checkout, metavar="CHECKOUT")
    variants = list(pix2pixhd.VARIANTS)
    parser.add_argument("--variants", type=_variants, default=variants, metavar="A,B,A+B")
    parser.add_argument("--torch_threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--num_measurements", type=at_least(2), default=5)
    add_networks(parser, name, sizes, batch_sizes, "float32")


def add_networks(
    parser: argparse.ArgumentParser, name: str, sizes: str, batch_sizes: str, dtype: str
) -> None:
    """Adds the options of `add_cases`, with the same arguments, and changes of the config."""
    add_cases(parser, name, sizes, batch_sizes, dtype)
    parser.add_argument("--set", type=_changes, default={}, metavar="FIELD=VALUE,...")


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
    parser.add_argument(
        "--sizes", type=parse_sizes, default=parse_sizes(sizes), metavar="WxH:NGF,..."
    )
    parser.add_argument("--batch_sizes", type=whole_numbers, default=whole_numbers(batch_sizes))
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default=dtype)
    add_output(parser)
    parser.add_argument("--name", default=name, help="of the JSON file")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Adds `--output`, the folder of the results."""
    default = pathlib.Path("benchmarks/results")
    parser.add_argument("--output", type=_folder, default=default, metavar="DIR")


def add_rows(parser: argparse.ArgumentParser, rows: Sequence[str]) -> None:
    """Adds `--rows`: some of `rows`, all by default; others are refused before any work."""

    def some(text: str) -> list[str]:
        found = text.split(",")
        _refuse_unknown(found, rows)
        return found

    parser.add_argument("--rows", type=some, default=list(rows), metavar="A,B")


def pix2pixhd_checkout(text: str) -> pathlib.Path:
    """A checkout of NVIDIA/pix2pixHD, beside a PyTorch that can run it."""
    return _checkout(text, "models/pix2pixHD_model.py")


def pytorch_fid_checkout(text: str) -> pathlib.Path:
    """A checkout of mseitzer/pytorch-fid, beside a PyTorch that can run it."""
    return _checkout(text, "src/pytorch_fid/inception.py")


def _checkout(text: str, file: str) -> pathlib.Path:
    if not (pathlib.Path(text) / file).is_file():
        raise argparse.ArgumentTypeError(f"found no {file} in {text}")
    if not has_pytorch():
        raise argparse.ArgumentTypeError("PyTorch is not installed")
    return pathlib.Path(text)


def has_pytorch() -> bool:
    """Whether PyTorch is there to measure beside."""
    return importlib.util.find_spec("torch") is not None


def columns(options: argparse.Namespace, size: Size, batch_size: int) -> dict[str, object]:
    """What the rows of one case have in common: size, width, batch size and type."""
    height, width, channels = size
    shared = {
        "size": f"{width}x{height}",
        "ngf": channels,
        "batch": batch_size,
        "type": options.dtype,
    }
    if changes := vars(options).get("set"):  # of benchmarks that have a config
        shared["set"] = ", ".join(f"{field} {value}" for field, value in changes.items())
    return shared


def _variants(text: str) -> list[str]:
    variants = text.split(",")
    _refuse_unknown([word for item in variants for word in item.split("+")], pix2pixhd.VARIANTS)
    return variants


def _refuse_unknown(found: Sequence[str], known: Sequence[str]) -> None:
    if unknown := [word for word in found if word not in known]:
        expected = f"some of {', '.join(known)}"
        raise argparse.ArgumentTypeError(f"found {unknown[0]!r}, expected {expected}")


def at_least(smallest: int) -> Callable[[str], int]:
    """The type of a whole number; quartiles, for instance, need two measurements."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < smallest:
            raise argparse.ArgumentTypeError(f"found {text!r}, expected at least {smallest}")
        return int(text)

    return parse


def existing(text: str) -> pathlib.Path:
    """The type of a file or folder that is read."""
    if not pathlib.Path(text).exists():
        raise argparse.ArgumentTypeError(f"{text}: not found")
    return pathlib.Path(text)


def _folder(text: str) -> pathlib.Path:
    path = pathlib.Path(text)
    parent = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"found {parent}, expected a folder that can be written")
    return path


def whole_numbers(text: str) -> list[int]:
    """The type of batch sizes, '1,8'."""
    return [at_least(1)(item) for item in text.split(",")]


def parse_sizes(text: str) -> list[Size]:
    """'512x256:64' as height, width and channels."""
    found = [re.fullmatch(r"([1-9]\d*)x([1-9]\d*):([1-9]\d*)", item) for item in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected WxH:NGF such as 512x256:64")
    return [(int(match[2]), int(match[1]), int(match[3])) for match in found]


def _changes(text: str) -> dict[str, Any]:
    pairs = (item.partition("=") for item in text.split(","))
    changes = {field: _value(value) for field, _, value in pairs}
    try:
        configuration.check(steps.make_config(256, 512, 64, "float32", changes))
    except (InputError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"found {text!r}: {one_line(error)}") from error
    return changes


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text  # a word
