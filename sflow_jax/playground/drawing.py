"""What a generator makes of one scene with the controls of the page."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from sflow_jax.errors import InputError
from sflow_jax.inference import TrainedModel
from sflow_jax.ops.laplacian import laplacian, laplacian_edges, to_gray
from sflow_jax.ops.pixels import to_float
from sflow_jax.pictures import edges_to_rgb
from sflow_jax.playground.scene import Scene


@dataclasses.dataclass(frozen=True)
class Controls:
    """What a visitor can change.

    Attributes:
        weights: of DNED's six side outputs, 0 or more; those of the first variant.
        edges: what is an edge: the threshold of the absolute Laplacian, or for a run with
            `edges.quantile` the share of pixels.
        seed: of the other variants' weights, and of all colors.
        num_variants: how many pictures.
    """

    weights: Sequence[float]
    edges: float
    seed: int
    num_variants: int


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Pictures, uint8 RGB [H, W, 3].

    Attributes:
        label: the classes in their colors.
        edge_image: the CG frame.
        laplacian: the edges that the scene's frame has.
        edge_map: those that the generator saw, of the first variant.
        pictures: the results, one for each variant.
    """

    label: np.ndarray
    edge_image: np.ndarray
    laplacian: np.ndarray
    edge_map: np.ndarray
    pictures: Sequence[np.ndarray]


def require_ensemble(model: TrainedModel) -> None:
    """Checks that ensemble weights make a difference.

    Raises:
        InputError: the generator has no DNED, or has not seen its edges yet.
    """
    if reason := model.method.why_no_variants(model.controls):
        raise InputError(
            f"--workdir: found a run of {model.config.method} at step {model.step}: {reason}; "
            "expected one whose generator sees the edges of DNED"
        )


def default_controls(model: TrainedModel) -> Controls:
    """Those of training."""
    edges = model.config.edges
    share = None if edges.quantile is None else 1 - edges.quantile
    weights = model.method.variants(1, None)[0]["weights"]
    return Controls(weights.tolist(), edges.threshold if share is None else share, 0, 1)


def draw(model: TrainedModel, scene: Scene, controls: Controls) -> Drawing:
    """Translates a scene.

    Raises:
        InputError: all weights are 0.
    """
    weights = np.asarray(controls.weights, np.float32)
    if not weights.sum() > 0:
        raise InputError("weights: found only 0, expected at least one above 0")
    label, frame = scene.label[None], scene.edge_image[None]
    edges = _edges(model, frame, controls.edges)
    variants = model.method.variants(controls.num_variants, controls.seed)
    variants[0] = {"weights": weights}
    drawn = [
        model.translate(
            label, frame, edge_map=edges, **variant,
            **model.method.styles([scene.name], controls.seed + number),
        )
        for number, variant in enumerate(variants)
    ]  # fmt: skip
    return Drawing(
        model.class_table.colorize(scene.label[..., 0]),
        scene.edge_image,
        edges_to_rgb(edges[0]),
        edges_to_rgb(np.asarray(drawn[0]["edge_map"][0])),
        [np.asarray(outputs["picture"][0]) for outputs in drawn],
    )


def _edges(model: TrainedModel, frame: np.ndarray, amount: float) -> np.ndarray:
    """Laplacian edges, float32 [1, H, W, 1], by a threshold or with a share of the pixels."""
    image = to_float(jnp.asarray(frame))
    if model.config.edges.quantile is not None:
        amount = np.quantile(np.abs(laplacian(to_gray(image))), 1 - amount)
    return np.asarray(laplacian_edges(image, float(amount)))
