"""Common code of comparing two folders of images and two folders of videos.

A folder is read a batch at a time, in the order of its names; several hosts share it. The real
one's statistics are kept in the folder of the weights and reused until its files change.
"""

import abc
import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from sflow_jax import files as files_lib
from sflow_jax.errors import InputError, writing_to
from sflow_jax.evaluation.report import SCORES_FILE, SCORES_TABLE_FILE
from sflow_jax.files import write_json, write_whole
from sflow_jax.metrics.feature_statistics import (
    FeatureExtractor,
    FeatureStatistics,
    cached,
    collect,
    files_state,
)
from sflow_jax.pretrained.weights import cache_directory

_LABEL_FOLDER, _IMAGE_FOLDER = "label", "image"  # of what sampling reads


@dataclasses.dataclass(frozen=True)
class ComparedFolder(abc.ABC):
    """What is to be compared with another folder.

    Attributes:
        name: 'real' or 'fake', for progress bars.
        folder: where the files are.
        paths: the files in the order in which they are read.
    """

    name: str
    folder: pathlib.Path
    paths: Sequence[pathlib.Path]

    @abc.abstractmethod
    def check(self) -> None:
        """Finds what is wrong before hours are spent on the rest.

        Raises:
            InputError: a file cannot be used, or differs in size from the first.
        """

    @abc.abstractmethod
    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        """Reads what a `FeatureExtractor` takes, at most `batch_size` at once, with a progress bar.

        Each host reads its `sharding.share_of_host`.

        Raises:
            InputError: a file is missing or damaged.
        """

    def state(self) -> str:
        """See `feature_statistics.files_state`."""
        return files_state(self.folder, self.paths)


def walk(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, list[pathlib.Path]]]:
    """Goes through a folder and those below it, leaving out what begins with a dot.

    Where there are label maps in a folder `label`, as in what sampling reads, only the folder
    `image` next to it is entered.

    Yields:
        Each folder with its files.

    Raises:
        InputError: there is a folder `label` without `image`.
    """
    for place, folders, files in files_lib.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if _LABEL_FOLDER in folders:
            if _IMAGE_FOLDER not in folders:
                raise InputError(
                    f"{place / _IMAGE_FOLDER}: not found, expected the frames of {_LABEL_FOLDER}/"
                )
            folders[:] = [_IMAGE_FOLDER]
        yield place, [place / name for name in files if not name.startswith(".")]


def compute_statistics(
    real: ComparedFolder,
    fake: ComparedFolder,
    extractor: FeatureExtractor,
    key: Mapping[str, str],
    cache_dir: pathlib.Path | None = None,
    kept: int = 0,
) -> tuple[FeatureStatistics, FeatureStatistics]:
    """The statistics of both folders' features; those of the real one may come from the cache.

    Args:
        real: the files whose statistics are kept.
        fake: the others, checked before anything is computed.
        extractor: computes the features.
        key: what the statistics depend on besides files, weights and `kept`, for the cache.
        cache_dir: the folder of the cache; by default $SFLOW_CACHE or ~/.cache/sflow_jax.
        kept: features to keep of each folder at most; see `feature_statistics.collect`.

    Raises:
        InputError: a file cannot be used.
    """
    fake.check()
    key = {
        "files": real.state(),
        "weights": extractor.fingerprint,
        **key,
        "kept": str(kept),
    }
    compute_real = functools.partial(_compute_statistics, real, extractor, kept)
    real_statistics = cached(cache_directory(cache_dir), key, compute_real)
    return real_statistics, _collect(fake, extractor, kept)


def _compute_statistics(
    folder: ComparedFolder, extractor: FeatureExtractor, kept: int
) -> FeatureStatistics:
    folder.check()
    return _collect(folder, extractor, kept)


def _collect(folder: ComparedFolder, extractor: FeatureExtractor, kept: int) -> FeatureStatistics:
    return collect(extractor.stream(folder.batches(extractor.batch_size)), kept)


def format_scores(notes: Sequence[str], scores: Mapping[str, float]) -> str:
    """A table of scores, under what a reader has to know."""
    width = max(map(len, scores))
    # A distance of nothing but rounding errors may come out below 0.
    table = [f"{name:<{width}}  {value:z12.6f}" for name, value in scores.items()]
    return "\n".join([*notes, "", *table]) + "\n"


def write_scores(output: pathlib.Path, record: Mapping, report: str) -> None:
    """Writes metrics.json and scores.txt.

    Raises:
        InputError: the folder cannot be written.
    """
    with writing_to(output):
        write_json(output / SCORES_FILE, record)
        write_whole(output / SCORES_TABLE_FILE, report)
