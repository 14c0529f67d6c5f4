"""Score tables for people: one line per row of pictures, then one column per row for each class."""

import math
from collections.abc import Mapping

from sflow_jax.metrics.fid import PROTOCOL_SUFFIXES
from sflow_jax.metrics.fixed_pattern import PERIODS
from sflow_jax.metrics.picture_scores import Result, class_ious, number

# Title, factor and decimals of the numbers that tables show.
COLUMNS = {
    "edge_density": ("edges' mean", 1, 2),
    "edge_correlation": ("to real edges", 1, 2),
    "l1": ("L1", 1, 4),
    **{f"pattern_{period}": (f"pattern {period} px", 1, 2) for period in PERIODS},
    "mean_iou": ("mIoU %", 100, 1),
    "pixel_accuracy": ("accuracy % (void ignored)", 100, 1),
    "pixel_accuracy_with_void": ("accuracy % (void counted)", 100, 1),
    "warping_error": ("warping error x 1000", 1000, 2),
    "flow_error": ("flow error px", 1, 3),
    "exact_flow_error": ("to exact flow px", 1, 3),
    "flicker": ("flicker %", 100, 2),
    "frechet_streets": ("frechet_streets", 1, 3),
    **{
        f"{name}{suffix}": (f"{title}{suffix.replace('_', ' ')}", factor, decimals)
        for suffix in PROTOCOL_SUFFIXES.values()
        for name, title, factor, decimals in (
            ("fid", "FID", 1, 2),
            ("kid", "KID x 1000", 1000, 2),
            ("precision", "precision %", 100, 1),
            ("recall", "recall %", 100, 1),
        )
    },
}


def format_table(results: Mapping[str, Result]) -> str:
    """Formats the results of several rows.

    Args:
        results: the numbers of each row, from `picture_scores`; all rows have the same ones.

    Returns:
        The table, and below it the IoU of each class where there is a `class_iou`; `-` marks what
        is not defined.
    """
    first = next(iter(results.values()))
    names = [name for name in COLUMNS if name in first]
    lines = [["", *(COLUMNS[name][0] for name in names)]]
    for row, result in results.items():
        lines.append([row, *(_format(number(result, name), *COLUMNS[name][1:]) for name in names)])
    text = align(lines)
    if names_of_classes := list(class_ious(first)):
        lines = [["IoU %", *results]]
        for name in names_of_classes:
            cells = [_format(class_ious(result)[name], 100, 1) for result in results.values()]
            lines.append([name, *cells])
        text += "\n\n" + align(lines)
    return text


def _format(value: float, factor: int, decimals: int) -> str:
    return "-" if math.isnan(value) else f"{factor * value:z.{decimals}f}"


def align(lines: list[list[str]]) -> str:
    """The first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )
