"""How much the variants of one scene differ, and what that costs in agreement with its labels.

The distance of two pictures is LPIPS without its learned weights (Zhang et al. 2018): features of
HED's VGG16, of unit length at each pixel, their squared differences summed over channels, averaged
over pixels and summed over the five slices. Beside it stands the distance of different real images,
and a segmenter's mIoU of the same variants.
"""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grain.python as grain
import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from sflow_jax.data.pipeline import eval_batches
from sflow_jax.errors import InputError
from sflow_jax.evaluation.evaluation import Evaluation
from sflow_jax.evaluation.report import without_nan
from sflow_jax.evaluation.rows import style_names
from sflow_jax.files import write_json, write_whole
from sflow_jax.losses import total
from sflow_jax.metrics.picture_scores import Segmentation, number
from sflow_jax.metrics.score_table import align
from sflow_jax.ops.pixels import to_float
from sflow_jax.pictures import grid, write_png
from sflow_jax.pretrained import hed

RESULTS_FILE, TABLE_FILE, PICTURE_FILE = "diversity.json", "diversity.txt", "diversity.png"
NUM_VARIANTS = 4
_SCENES_PER_BATCH = 4
_NUM_SHOWN = 6
_REAL = "different real images"

Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Two batches of pictures uint8 RGB [B, H, W, 3] to a distance each, [B]."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """One way in which variants may differ.

    Attributes:
        weights: whether in what `Method.variants` draws, such as the ensemble of DNED's edges.
        styles: whether in what `Method.styles` gives, such as colors.
    """

    weights: bool
    styles: bool


KINDS = {
    "the edges that DNED draws": Kind(True, False),
    "colors": Kind(False, True),
    "edges and colors": Kind(True, True),
}


def has_variants(record: Mapping[str, Any]) -> bool:
    """Whether a record of this module is of a method whose variants differ."""
    return any(kind in record["rows"] for kind in KINDS)


def load_distance() -> Distance:
    """The distance of the module's docstring.

    Raises:
        InputError: HED's weights are absent; the message has the command that gets them.
    """
    network, variables = hed.HEDFeatures(), jax.device_put(hed.load())

    @jax.jit
    def distance(variables: Any, first: jax.Array, second: jax.Array) -> jax.Array:
        of_first: Any = network.apply(variables, to_float(first))
        of_second: Any = network.apply(variables, to_float(second))
        return total(
            jnp.square(_unit(a) - _unit(b)).sum(-1).mean((1, 2))
            for a, b in zip(of_first, of_second, strict=True)
        )

    return lambda first, second: np.asarray(distance(variables, first, second))


def _unit(features: jax.Array) -> jax.Array:
    return features / jnp.maximum(jnp.linalg.norm(features, axis=-1, keepdims=True), 1e-6)


def measure_diversity(
    evaluation: Evaluation, distance: Distance, num_variants: int, limit: int | None = None
) -> dict[str, dict[str, float]]:
    """Compares variants of every scene of the split with a progress bar.

    Args:
        evaluation: the run, its dataset, split and segmenter.
        distance: of pictures.
        num_variants: of each scene, 2 or more.
        limit: only the first so many examples.

    Returns:
        By kind, and for different real images, `distance` and, where there is a segmenter,
        `mean_iou`; and `generated`, the mIoU without variation.

    Raises:
        InputError: there are no two examples.
    """
    source = evaluation.dataset.source(evaluation.split)
    length = min(len(source), limit or len(source))
    if length < 2:
        raise InputError(f"--diversity: found {length} example, expected two to compare")
    examples = grain.MapDataset.source(source)[:length]
    kinds = _kinds_of(evaluation)
    distances: dict[str, list[np.ndarray]] = {name: [] for name in (*kinds, _REAL)}
    scores = {name: _segmentation(evaluation) for name in (*kinds, _REAL, "generated")}
    start = 0
    with tqdm.tqdm(total=length, desc="comparing variants", unit="scene", leave=None) as bar:
        for batch, valid in eval_batches(examples, min(length, _SCENES_PER_BATCH)):
            scene = {key: values[:valid] for key, values in batch.items()}
            for name, kind in kinds.items():
                pictures = list(_draw(evaluation, batch, kind, num_variants))
                for first, second in itertools.combinations(pictures, 2):
                    distances[name].append(distance(first, second)[:valid])
                _update(scores[name], pictures, scene)
            real = batch["image"][:, 0]
            # Half the split away: neighbors may be frames of one drive.
            others = [examples[(start + k + length // 2) % length] for k in range(len(real))]
            other = np.stack([example["image"][0] for example in others])
            distances[_REAL].append(distance(real, other)[:valid])
            _update(scores[_REAL], [real], scene)
            generated = evaluation.rows[evaluation.model_row](batch)[:, 0]
            _update(scores["generated"], [generated], scene)
            start += valid
            bar.update(valid)
    record: dict[str, dict[str, float]] = {name: {} for name in scores}
    for name, score in scores.items():
        if found := distances.get(name):
            record[name]["distance"] = float(np.concatenate(found).mean())
        if score:
            record[name]["mean_iou"] = number(score.result(), "mean_iou")
    return record


def _segmentation(evaluation: Evaluation) -> Segmentation | None:
    if not evaluation.predict:
        return None
    return Segmentation(evaluation.predict, evaluation.model.class_table)


def _update(score: Segmentation | None, pictures: list[np.ndarray], scene: dict) -> None:
    if score:
        valid = len(scene["label"])
        first_frames = {"label": scene["label"][:, :1]}
        for picture in pictures:
            score.update(picture[:valid, None], first_frames)


def _kinds_of(evaluation: Evaluation) -> dict[str, Kind]:
    """The kinds in which this run's variants can differ."""
    method = evaluation.model.method
    has_weights = not method.why_no_variants(evaluation.model.controls)
    has_styles = bool(method.styles(["a"]))
    return {
        name: kind
        for name, kind in KINDS.items()
        if (has_weights or not kind.weights) and (has_styles or not kind.styles)
    }


def _draw(
    evaluation: Evaluation, batch: dict, kind: Kind, num_variants: int
) -> Iterator[np.ndarray]:
    """The variants of a batch of scenes, each uint8 RGB [B, H, W, 3]."""
    model = evaluation.model
    drawn = model.method.variants(num_variants, 0)
    label, edge_image = batch["label"][:, 0], batch[evaluation.edge_key][:, 0]
    inputs = {key: batch[key][:, 0] for key in model.method.input_keys}
    for variant in range(num_variants):
        controls = drawn[variant] if kind.weights else {}
        styles = model.method.styles(style_names(batch), variant if kind.styles else 0)
        translated = model.translate(label, edge_image, **inputs, **controls, **styles)
        yield np.asarray(translated["picture"])


def draw_variants(evaluation: Evaluation, num_variants: int) -> np.ndarray:
    """A few scenes: the frame that guides, the variants and the real image."""
    source = evaluation.dataset.source(evaluation.split)
    count = min(_NUM_SHOWN, len(source))
    examples = [source[index * len(source) // count] for index in range(count)]
    batch, _ = next(eval_batches(examples, count))
    kinds = _kinds_of(evaluation)
    columns = {"edges from": batch[evaluation.edge_key][:, 0]}
    if kinds:
        *_, last = kinds.values()
        for index, pictures in enumerate(_draw(evaluation, batch, last, num_variants)):
            columns[f"variant {index:02d}"] = pictures
    columns["real"] = batch["image"][:, 0]
    rows = [[column[index] for column in columns.values()] for index in range(count)]
    return grid(rows, list(columns))


def format_diversity(record: dict[str, dict[str, float]], num_variants: int) -> str:
    """A line for each kind, one for real images and one for the pictures without variation."""
    lines = [["what differs", "distance", "mIoU %"]]
    for name, values in record.items():
        title = {"generated": "nothing", _REAL: f"all ({_REAL})"}.get(name, name)
        cells = [f"{values['distance']:.3f}" if "distance" in values else "-"]
        cells.append(f"{100 * values['mean_iou']:.1f}" if "mean_iou" in values else "-")
        lines.append([title, *cells])
    return (
        f"{num_variants} variants of every scene; distance: HED's VGG16, as LPIPS without learned "
        f"weights\n\n{align(lines)}\n"
    )


def write_diversity(
    output: pathlib.Path, evaluation: Evaluation, record: dict, num_variants: int
) -> str:
    """Writes diversity.json, diversity.txt and diversity.png; returns the text.

    Raises:
        OSError: the folder cannot be written.
    """
    model = evaluation.model
    text = (
        f"step {model.step}, the split {evaluation.split!r}, seed {model.config.seed}; mIoU is by "
        f"{evaluation.segmenter.title if evaluation.segmenter else 'no segmenter'}\n"
        f"{format_diversity(record, num_variants)}"
    )
    write_json(
        output / RESULTS_FILE,
        without_nan({"checkpoint_step": model.step, "num_variants": num_variants, "rows": record}),
    )
    write_whole(output / TABLE_FILE, text)
    write_png(output / PICTURE_FILE, draw_variants(evaluation, num_variants))
    return text
