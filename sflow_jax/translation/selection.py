"""Which frames are set aside, because a segmenter does not find their labels in them.

It is decided after all are translated, so that another limit needs no translation: a second call
moves frames to where they belong. Of clips all frames go together, so that none has a gap.
"""

import collections
import pathlib
import statistics
from collections.abc import Iterable, Sequence

from sflow_jax.files import write_whole
from sflow_jax.translation import training_set
from sflow_jax.translation.certificate import Line

LIST_FILE = "set_aside.txt"


def set_aside(
    output: pathlib.Path, lines: Sequence[Line], least: float | None, whole_clips: bool
) -> list[Line]:
    """Moves frames of less agreement to `set_aside/`, lists them, and moves all others back.

    Args:
        output: the folder of the set.
        lines: of its certificate.
        least: agreement of a frame that stays, or its mean over a clip; None sets nothing aside.
        whole_clips: whether the frames of a sequence stay together.

    Returns:
        The lines of the frames that are set aside, the lowest agreement first.

    Raises:
        OSError: a file cannot be moved.
    """
    groups = collections.defaultdict(list)
    for line in lines:
        name = line.frame.rpartition("/")[0] if whole_clips else line.frame
        groups[name, line.variant].append(line)
    removed = [
        line
        for group in groups.values()
        if least is not None and _mean_agreement(group) < least
        for line in group
    ]
    removed.sort(key=lambda line: (1 if line.agreement is None else line.agreement, line.key))
    keys = {line.key for line in removed}
    for line in lines:
        for relative in line.outputs:
            if not training_set.is_annotation(relative):
                _move(output, relative, line.key in keys)
    text = "".join(f"{line.agreement} {_image(line)}\n" for line in removed)
    write_whole(output / LIST_FILE, text)
    return removed


def _mean_agreement(group: Iterable[Line]) -> float:
    """Of the frames that have one; a frame without pixels that are scored has no reason to go."""
    found = [line.agreement for line in group if line.agreement is not None]
    return statistics.mean(found) if found else 1.0


def _image(line: Line) -> str:
    images = (path for path in line.outputs if f"/{training_set.IMAGE}/" in path)
    return next(images, line.frame)


def _move(output: pathlib.Path, relative: str, is_removed: bool) -> None:
    places = output / relative, output / training_set.SET_ASIDE / relative
    source, target = places if is_removed else places[::-1]
    if source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
