"""How a generator of S-Flow GAN is used, compared and described; `sflow.py` has its equations."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from sflow_jax.methods.base import LAPLACIAN, Params, Usage
from sflow_jax.methods.edges import canny_edges
from sflow_jax.methods.image_method import GeneratedT, ImageMethod, SceneT
from sflow_jax.models.dned import sample_ensemble_weights
from sflow_jax.runs.schedule import Schedule

_DNED_EDGES, _NO_EDGES = "DNED edges", "labels only, no edges"  # rows of score tables
MEMBERS = ("d1", "d2", "d3", "d4", "d5", "fusion")  # of DNED's ensemble; d1 is the finest


class SFlowUsage(ImageMethod[SceneT, GeneratedT]):
    """The controls of `SFlow.translate` and all that follows from them.

    Attributes:
        config: the whole config.
        schedule: when DNED's edges take the place of the Laplacian's.
        palettes: the colors that the generator is told in use, [K, C, 3]; None where it is told
            none.
    """

    config: ml_collections.ConfigDict
    schedule: Schedule
    palettes: np.ndarray | None

    @property
    def sees_edges(self) -> bool:
        """See `Method`."""
        return self.config.generator.edges != "none"

    def controls(self, step: int) -> dict[str, Any]:
        """The share of DNED's edges that the generator knows at this step."""
        return {"share": float(self.schedule.dned_share(step))}

    @classmethod
    def why_impossible(cls, config: ml_collections.ConfigDict) -> str:
        """See `Method`: the flow losses are of pairs."""
        if (frames := config.data.frames) > 2:
            return f"config.data.frames: found {frames}, expected 1, or 2 for pairs"
        return ""

    @classmethod
    def wants_palettes(cls, config: ml_collections.ConfigDict) -> bool:
        """See `Method`."""
        return config.generator.palette != "none"

    @property
    def generator_sees_colors(self) -> bool:
        """Whether it is told the mean color of each class."""
        return self.wants_palettes(self.config)

    @classmethod
    def published_params(cls, config: ml_collections.ConfigDict) -> dict[str, Params]:
        """See `Method`: DNED's, if `dned.init` says so."""
        if config.dned.init != "hed":
            return {}
        from sflow_jax.pretrained import hed

        return {"dned": hed.dned_params(3 if config.dned.input == "rgb" else 1)}

    def styles(self, names: Sequence[str], variant: int = 0) -> dict[str, Any]:
        """See `Method`: `style`, int [B], a palette that the name and the variant decide."""
        if self.palettes is None:
            return {}
        first = [zlib.crc32(name.encode()) for name in names]
        return {"style": np.array([(start + variant) % len(self.palettes) for start in first])}

    def maps(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Method`: Laplacian edges, the six side outputs and what the generator sees."""
        sides = jax.nn.sigmoid(outputs["side_outputs"])
        drawn = dict(zip(MEMBERS, sides, strict=True))
        return {"Laplacian": outputs["laplacian"], **drawn, "edges into G": outputs["edge_map"]}

    def usages(self, controls: Mapping[str, Any]) -> dict[str, Usage]:
        """DNED's edges, Laplacian ones and none, as far as the generator has learned them."""
        usages = {}
        if self._sees_dned(controls):
            usages[_DNED_EDGES] = Usage(controls)
        # The others not through DNED, which draws something even where there is no edge.
        laplacian = {**controls, "share": 0.0}
        if self.sees_edges:
            usages[LAPLACIAN] = Usage(laplacian)
        return usages | {_NO_EDGES: Usage(laplacian, sees_edge_image=False)}

    def edge_usages(self, controls: Mapping[str, Any]) -> dict[str, Usage]:
        """See `Method`: DNED's ensemble as trained and its members alone, then other detectors."""
        if not self.sees_edges:
            return {}
        usages = {}
        if self._sees_dned(controls):
            usages[_DNED_EDGES] = Usage(controls)
            for member, weights in zip(
                MEMBERS, np.eye(len(MEMBERS), dtype=np.float32), strict=True
            ):
                alone = {**controls, "share": 1.0, "weights": weights}
                usages[f"DNED, {member} alone"] = Usage(alone)
        laplacian = {**controls, "share": 0.0}
        return usages | {
            LAPLACIAN: Usage(laplacian),
            "Canny": Usage(laplacian, find_edges=canny_edges),
            _NO_EDGES: Usage(laplacian, sees_edge_image=False),
        }

    def variants(self, num_variants: int, seed: int | None) -> list[dict[str, Any]]:
        """Ensemble weights, float32 [6] of sum 1: those of training, or Dirichlet draws."""
        if seed is None:
            weights = np.asarray(self.config.loss.side_weights, np.float32)
            return [{"weights": weights / weights.sum()}] * num_variants
        keys = [jax.random.fold_in(jax.random.key(seed), k) for k in range(num_variants)]
        return [{"weights": np.asarray(sample_ensemble_weights(key))} for key in keys]

    def why_no_variants(self, controls: Mapping[str, Any]) -> str:
        """See `Method`: variants differ in the edges that DNED draws."""
        if self._sees_dned(controls):
            return ""
        return (
            "variants come from DNED, and the generator has not seen its edges (generator.edges = "
            f"{self.config.generator.edges!r}, share of DNED {controls['share']:g})"
        )

    def notes(self, controls: Mapping[str, Any]) -> list[str]:
        """See `Method`: whether the run has come to its last stage."""
        if self.config.generator.edges != "dned" or controls["share"] == 1:
            return []
        return [
            "The run has not reached its last stage: the generator's edges are "
            f"{100 * controls['share']:.0f} % DNED's and otherwise Laplacian."
        ]

    def describe_stages(self) -> list[str]:
        """See `Method`: when DNED's edges take over."""
        first, last = self.schedule.laplacian_steps, self.schedule.ramp_steps
        return [f"Laplacian edges to step {first}, DNED edges from step {first + last}"]

    @classmethod
    def options_of_networks(cls, config: ml_collections.ConfigDict) -> tuple[str, ...]:
        """See `Method`; the ensemble too, where the generator sees DNED's edges."""
        ensemble = ("loss.side_weights",) if config.generator.edges == "dned" else ()
        return ("edges", "generator", "discriminator", "dned.width", "dned.input", *ensemble)

    @classmethod
    def why_not_ready(
        cls, config: ml_collections.ConfigDict, source: Schedule, source_step: int
    ) -> str:
        """See `Method`: the generator would be given edges that it has not seen alone."""
        share = float(source.dned_share(source_step))
        has_stages = config.train.laplacian_epochs or config.train.ramp_epochs
        if config.generator.edges != "dned" or has_stages or share == 1:
            return ""
        return (
            f"is at step {source_step}, where the generator's edges are DNED's by {share:.0%}; "
            f"expected step {source.laplacian_steps + source.ramp_steps} or later, or "
            "config.train.laplacian_epochs and ramp_epochs that lead there"
        )

    def _sees_dned(self, controls: Mapping[str, Any]) -> bool:
        """Whether DNED's edges reach the generator, so that ensemble weights make a difference."""
        return self.config.generator.edges == "dned" and controls["share"] > 0
