"""Label, CG frame and translation of a few frames, with their agreement, the worst among them."""

from collections.abc import Sequence

import numpy as np

from sflow_jax.data import images
from sflow_jax.pictures import grid
from sflow_jax.translation import training_set
from sflow_jax.translation.certificate import Line
from sflow_jax.translation.job import Translation

SHEET_FILE = "contact_sheet.png"
_NUM_ROWS = 8
_WIDTH = 384  # pixels: larger pictures are shrunk to it, smaller ones multiplied up to it


def draw_sheet(translation: Translation, lines: Sequence[Line]) -> np.ndarray:
    """Draws frames from the least agreement to the most, or in their order where there is none.

    Args:
        translation: whose frames they are.
        lines: of its certificate.

    Returns:
        uint8 RGB.
    """
    ranked = sorted(lines, key=lambda line: (line.agreement or 0, line.key))
    count = min(_NUM_ROWS, len(ranked))
    last = max(1, count - 1)
    shown = [ranked[i * (len(ranked) - 1) // last] for i in range(count)]
    rows = [_row(translation, line) for line in shown]
    return grid(rows, ["label", "CG frame", "translated"], [_title(line, lines) for line in shown])


def _title(line: Line, lines: Sequence[Line]) -> str:
    variant = f", variant {line.variant}" if any(other.variant for other in lines) else ""
    agreement = "" if line.agreement is None else f"agreement {100 * line.agreement:.0f} %: "
    return f"{agreement}{line.frame}{variant}"


def _row(translation: Translation, line: Line) -> list[np.ndarray]:
    table, output = translation.model.class_table, translation.settings.output
    paths = {
        key: training_set.find(output, translation.relative_path(line.frame, key, line.variant))
        for key in (training_set.LABEL, training_set.IMAGE)
    }
    label = images.read_label_map(paths[training_set.LABEL], table)
    frame = translation.export_frames[line.frame]
    height, width = translation.frames[0].size
    scale = _WIDTH / width if width > _WIDTH else _WIDTH // width
    size = max(1, round(scale * height)), max(1, round(scale * width))
    return [
        table.colorize(images.resize_map(label, *size)[..., 0]),
        images.resize_color(images.read_color(frame.cg), *size),
        images.resize_color(images.read_color(paths[training_set.IMAGE]), *size),
    ]
