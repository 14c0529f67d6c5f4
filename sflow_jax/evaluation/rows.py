"""The rows of a score table: whose pictures are scored."""

from collections.abc import Callable

import numpy as np

from sflow_jax.inference import TrainedModel

ORACLE = "Oracle (real images)"
DNED_EDGES = "DNED edges"
LAPLACIAN = "Laplacian, no DNED"
NO_EDGES = "labels only, no edges"
CG = "CG frame itself"

Draw = Callable[[dict], np.ndarray]
"""The pictures of a row, uint8 RGB [B, T, H, W, 3], for a batch of examples."""


def make_rows(model: TrainedModel, has_cg: bool) -> dict[str, Draw]:
    """The rows that make sense for a model, its own one right after the oracle."""

    def generated(share: float, with_edges: bool = True) -> Draw:
        def draw(batch: dict) -> np.ndarray:
            edge_image = batch["cg" if has_cg else "image"]
            # An image of one color has no edges.
            edge_image = edge_image if with_edges else np.zeros_like(edge_image)
            # Every frame by itself: the generator knows nothing of its neighbors.
            frames = [
                np.asarray(model.translate(label, image, share=share)["picture"])
                for label, image in zip(
                    batch["label"].swapaxes(0, 1), edge_image.swapaxes(0, 1), strict=True
                )
            ]
            return np.stack(frames, axis=1)

        return draw

    rows = {ORACLE: lambda batch: batch["image"]}
    if model.sees_dned:
        rows[DNED_EDGES] = generated(model.dned_share)
    if model.config.generator.edges != "none":
        rows[LAPLACIAN] = generated(0.0)
    # Not through DNED, which draws something even where there is no edge.
    rows[NO_EDGES] = generated(0.0, with_edges=False)
    if has_cg:
        rows[CG] = lambda batch: batch["cg"]
    return rows
