"""What in a dataset a user should know before training: a sentence each, with what helps."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from sflow_jax.survey.measures import Survey

# Rules of thumb, not laws: what is beyond them is worth a look.
_MOST_VOID = 0.3
_EDGE_DENSITIES = 0.02, 0.3
_LARGEST_EDGE_RATIO = 2
_MOST_MOTION = 0.1  # of the width
_LEAST_MOTION = 0.05  # pixels
_MOST_STRETCH = 0.05


def findings(survey: Survey) -> list[str]:
    """All that stands out; nothing where no example could be read."""
    if not survey.examples:
        return []
    return [sentence for rule in _RULES for sentence in rule(survey)]


def _unseen_classes(survey: Survey) -> Iterator[str]:
    seen = {split: survey.pixels(split) > 0 for split in survey.splits}
    learned = seen.get("train", np.zeros(256, bool))
    for split, ids in seen.items():
        if names := _names(survey, ids & ~learned):
            yield f"{split} has classes that train lacks: {names}. They cannot be learned."
    absent = ~np.any(list(seen.values()), axis=0)
    if not survey.faults and (names := _names(survey, absent)):  # a file not read may have them
        yield f"classes.json has classes that no label map has: {names}. They cost only channels."


def _names(survey: Survey, ids: np.ndarray) -> str:
    return ", ".join(c.name for c in survey.class_table.classes if ids[c.id])


def _void(survey: Survey) -> Iterator[str]:
    unscored = [c.id for c in survey.class_table.classes if c.eval_id is None]
    for split in survey.splits:
        pixels = survey.pixels(split)
        share = pixels[unscored].sum() / max(pixels.sum(), 1)
        if share > _MOST_VOID:
            yield (
                f"{share:.0%} of the pixels of {split} are of classes that are not scored (eval_id "
                "null): the generator sees them as classes like others, and scores ignore them."
            )


def _edges(survey: Survey) -> Iterator[str]:
    if survey.edges.quantile is not None:
        return  # which gives all pictures the same share of edges
    real = np.mean([one.edges for one in survey.examples])
    least, most = _EDGE_DENSITIES
    if not least <= real <= most:
        yield (
            f"{real:.1%} of the real frames' pixels are edges; {least:.0%} to {most:.0%} are "
            "usual. --config.edges.quantile=0.9 makes it 10%, --config.edges.threshold changes it."
        )
    cg = np.mean([one.cg_edges or 0.0 for one in survey.examples])
    if survey.schema.cg and max(real, cg) > _LARGEST_EDGE_RATIO * min(real, cg):
        yield (
            f"CG frames have {cg:.1%} edges, real frames {real:.1%}: in use the generator sees "
            "others than in training. --config.edges.quantile=0.9 gives both the same share."
        )


def _motion(survey: Survey) -> Iterator[str]:
    motions = [one.motion for one in survey.examples if one.motion]
    if not motions:
        return
    high = np.median([fastest for _, fastest in motions])
    if high > _MOST_MOTION * survey.schema.width:
        yield (
            f"The fastest percent of the pixels moves {high:.0f} pixels per frame, more than a "
            "tenth of the width: too fast for Farneback's flow. A higher frame rate or a smaller "
            "size helps; --config.flow.loss=warp skips what cannot be tracked."
        )
    if high < _LEAST_MOTION:
        yield f"Hardly anything moves ({high:.2f} pixels): a flow loss has nothing to teach."


def _leaks(survey: Survey) -> Iterator[str]:
    trained = {one.digest: one.name for one in survey.splits.get("train", ())}
    for split, examples in survey.splits.items():
        known = [one for one in examples if split != "train" and one.digest in trained]
        if known:
            yield (
                f"{len(known)} pictures of {split} are also in train, such as {known[0].name}: "
                "scores would flatter."
            )


def _splits(survey: Survey) -> Iterator[str]:
    if "train" not in survey.splits:
        yield "There is no split train: nothing can be trained."
    if not survey.splits.keys() & {"test", "validation"}:
        yield "There is neither test nor validation: nothing can be scored."


def _stretch(survey: Survey) -> Iterator[str]:
    if survey.source_size is None:
        return
    height, width = survey.source_size
    factor = (survey.schema.width / width) / (survey.schema.height / height)
    if abs(np.log(factor)) > _MOST_STRETCH:
        yield (
            f"Files of {width}x{height} become {survey.schema.width}x{survey.schema.height}: wider "
            f"by {factor:.2f}. --config.data.height and --config.data.width in the ratio of the "
            "files keep their shapes."
        )


_RULES: Sequence[Callable[[Survey], Iterator[str]]] = (
    _splits,
    _unseen_classes,
    _void,
    _stretch,
    _edges,
    _motion,
    _leaks,
)
