"""The rows of a score table: whose pictures are scored."""

from collections.abc import Callable
from typing import Any

import numpy as np

from sflow_jax.inference import TrainedModel
from sflow_jax.methods.base import Usage

ORACLE = "Oracle (real images)"
CG = "CG frame itself"

Draw = Callable[[dict], np.ndarray]
"""The pictures of a row, uint8 RGB [B, T, H, W, 3], for a batch of examples."""


def make_rows(model: TrainedModel, has_cg: bool) -> dict[str, Draw]:
    """The rows that make sense for a model, its own one right after the oracle."""
    edge_key = "cg" if has_cg else "image"
    rows: dict[str, Draw] = {ORACLE: lambda batch: batch["image"]}
    for name, usage in model.method.usages(model.controls).items():
        rows[name] = generated(model, usage, edge_key)
    if has_cg:
        rows[CG] = lambda batch: batch["cg"]
    return rows


def style_names(batch: dict) -> list[str]:
    """What the look of each example belongs to: itself, or for pairs of frames their clip.

    The clip has the name of its folder where the dataset is exported, as in `sample --video`.
    """
    if batch["label"].shape[1] == 1:
        return batch["name"]
    return [name.rpartition("/")[0].replace("/", "_") for name in batch["name"]]


def generated(model: TrainedModel, usage: Usage, edge_key: str) -> Draw:
    """The row of one usage, whose edges are those of the examples' `edge_key`."""

    def draw(batch: dict) -> np.ndarray:
        styles = model.method.styles(style_names(batch))
        # Every frame by itself, unless the method remembers those before.
        frames: list[np.ndarray] = []
        recalled: dict[str, Any] = {}
        for t in range(batch["label"].shape[1]):
            edge_image, controls = guidance(usage, batch[edge_key][:, t])
            inputs = {key: batch[key][:, t] for key in model.method.input_keys}
            translated = model.translate(
                batch["label"][:, t], edge_image, **inputs, **controls, **styles, **recalled
            )
            recalled = model.method.recalled(translated)
            frames.append(np.asarray(translated["picture"]))
        return np.stack(frames, axis=1)

    return draw


def guidance(usage: Usage, frames: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """What a usage gives `translate` of the CG or real frames, uint8 RGB [B, H, W, 3].

    Returns:
        Frames with the edges that guide, and the controls.
    """
    if not usage.sees_edge_image:
        frames = np.zeros_like(frames)
    found = {"edge_map": usage.find_edges(frames)} if usage.find_edges else {}
    return frames, {**usage.controls, **found}
