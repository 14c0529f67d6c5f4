"""The picture of an evaluation: a few scenes side by side."""

import numpy as np

from sflow_jax.data.flow import farneback_flow
from sflow_jax.data.pipeline import eval_batches
from sflow_jax.evaluation.evaluation import Evaluation
from sflow_jax.evaluation.rows import CG, ORACLE
from sflow_jax.pictures import flow_to_rgb, grid, largest_motion

_NUM_SHOWN = 6


def draw_examples(evaluation: Evaluation, limit: int | None = None) -> np.ndarray:
    """Draws a few scenes of the split: label, every row, what the segmenter sees and flow.

    Returns:
        uint8 RGB, of the first frame of every pair.
    """
    source = evaluation.dataset.source(evaluation.split)
    length = min(len(source), limit or len(source))
    count = min(length, _NUM_SHOWN)
    spread = [source[index * length // count] for index in range(count)]
    batch, _ = next(eval_batches(spread, count))
    class_table = evaluation.model.class_table
    # A method that remembers has done its work at the end of a clip.
    shown = -1 if evaluation.model.method.remembers else 0
    columns = {"label": class_table.colorize(batch["label"][:, shown, ..., 0])}
    frames = {name: draw(batch) for name, draw in evaluation.rows.items()}
    pictures = {name: row[:, shown] for name, row in frames.items()}
    if CG in pictures:
        columns[CG] = pictures.pop(CG)
    real = pictures.pop(ORACLE)
    columns |= pictures | {"real": real}
    if evaluation.predict:
        palette = np.zeros((256, 3), np.uint8)
        palette[class_table.eval_lookup[::-1]] = class_table.palette[::-1]  # the first id wins
        columns["segmented real"] = palette[evaluation.predict(real)]
        fake = pictures[evaluation.model_row]
        columns["segmented fake"] = palette[evaluation.predict(fake)]
    if evaluation.dataset.schema.frames == 2:
        columns |= _draw_flows(frames[ORACLE], frames[evaluation.model_row])
    rows = [[column[index] for column in columns.values()] for index in range(count)]
    return grid(rows, list(columns))


def _draw_flows(real: np.ndarray, fake: np.ndarray) -> dict[str, np.ndarray]:
    """Flow within the real and the generated pairs, uint8 RGB [B, 2, H, W, 3], in one scale."""
    columns: dict[str, list[np.ndarray]] = {"real flow": [], "fake flow": []}
    for real_pair, fake_pair in zip(real, fake, strict=True):
        real_flow, fake_flow = farneback_flow(*real_pair), farneback_flow(*fake_pair)
        largest = largest_motion(real_flow)
        columns["real flow"].append(flow_to_rgb(real_flow, largest))
        columns["fake flow"].append(flow_to_rgb(fake_flow, largest))
    return {name: np.stack(pictures) for name, pictures in columns.items()}
