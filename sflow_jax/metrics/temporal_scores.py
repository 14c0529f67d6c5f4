"""How steady the clips of a row are, given the motion of the real frames."""

import collections
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from sflow_jax import sharding
from sflow_jax.metrics import temporal
from sflow_jax.metrics.picture_scores import Result
from sflow_jax.ops import forms
from sflow_jax.ops.image_flow import image_flow
from sflow_jax.ops.warp import consistency_mask


class Temporal:
    """Scores of the pairs of frames in clips, each the mean over all visible pixels of the set.

    - `warping_error`: along the precomputed flow of the real frames, where a forward-backward check
      of the real flow finds the point in both frames.
    - `flow_error`: end-point error, pixels, of Farneback's flow between the pictures to the
      precomputed flow of the real frames, over all pixels.

    Pairs have that flow; for longer clips, which have none, it is computed here. And, where the
    dataset has the exact flow and occlusions,

    - `exact_flow_error`: of Farneback's flow between the pictures to the exact flow,
    - `flicker`: along the exact flow,

    both over the pixels that are seen in both frames. `metrics.temporal` has the formulas.
    """

    def __init__(self) -> None:
        self._sums: dict[str, float] = collections.defaultdict(float)
        self._weights: dict[str, float] = collections.defaultdict(float)

    def update(self, pictures: np.ndarray, examples: Mapping[str, np.ndarray]) -> None:
        """Adds a batch; see `picture_scores.Score`."""
        motion = {key: examples[key] for key in _MOTION if key in examples}
        for t in range(pictures.shape[1] - 1):
            real, fake = (x[:, t : t + 2] for x in (examples["image"], pictures))
            means = _means(*sharding.spread((fake, {"image": real, **motion})))
            for name, (mean, weight) in jax.device_get(means).items():
                self._sums[name] += float(mean) * float(weight)
                self._weights[name] += float(weight)

    def result(self) -> Result:
        """The numbers by name."""
        sums, weights = sharding.sum_over_hosts(self._sums), sharding.sum_over_hosts(self._weights)
        return {name: float(total / max(weights[name], 1)) for name, total in sums.items()}


_MOTION = ("flow", "exact_flow", "occlusion")  # of pairs


@forms.jit
def _means(
    pictures: jax.Array, examples: Mapping[str, jax.Array]
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """The means over a batch, and the number of pixels that each is over."""
    real, fake = _to_unit(examples["image"]), _to_unit(pictures)
    real_flow = examples["flow"].astype(jnp.float32) if "flow" in examples else _flow(real)
    fake_flow = _flow(fake)
    visible = consistency_mask(real_flow, _flow(real[:, ::-1]))
    means = {
        "warping_error": (
            temporal.warping_error(fake[:, 0], fake[:, 1], real_flow, visible),
            visible.sum(),
        ),
        "flow_error": (
            temporal.end_point_error(fake_flow, real_flow),
            jnp.asarray(visible.size, jnp.float32),
        ),
    }
    if "occlusion" in examples:
        exact = examples["exact_flow"].astype(jnp.float32)
        seen = 1.0 - examples["occlusion"]
        means["exact_flow_error"] = temporal.end_point_error(fake_flow, exact, seen), seen.sum()
        means["flicker"] = temporal.flicker(fake[:, 0], fake[:, 1], exact, seen), seen.sum()
    return means


def _to_unit(pairs: jax.Array) -> jax.Array:
    return pairs.astype(jnp.float32) / 255


def _flow(pairs: jax.Array) -> jax.Array:
    """The flow [B, H, W, 2] within pairs [B, 2, H, W, 3] in [0, 1]."""
    return image_flow(*(2 * pairs[:, t] - 1 for t in range(2)))
