"""FID, KID, precision and recall of one folder of images against another.

A folder is read recursively, in the order of its names, a batch at a time. The real one's
statistics are kept beside the weights and read again until its files change.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
import tqdm

from sflow_jax.data.images import check_header, read_color
from sflow_jax.errors import InputError
from sflow_jax.evaluation.distances import FEWEST, FEWEST_KEPT
from sflow_jax.evaluation.report import METRICS_FILE, TABLE_FILE
from sflow_jax.files import write_whole
from sflow_jax.metrics import fid
from sflow_jax.metrics.feature_statistics import (
    MOST_KEPT,
    FeatureExtractor,
    FeatureStatistics,
    cached,
    collect,
)
from sflow_jax.pretrained.weights import cache_directory


@dataclasses.dataclass(frozen=True)
class Images:
    """The images of a folder.

    Attributes:
        name: of their progress bar.
        folder: where they are.
        paths: the PNG files in the order of their names, at least two.
    """

    name: str
    folder: pathlib.Path
    paths: list[pathlib.Path]

    def check(self) -> None:
        """Finds what is wrong before hours are spent on the rest.

        Raises:
            InputError: a file is no colour PNG, is truncated or has another size than the first.
        """
        headers = ((path, check_header(path, "image")) for path in self.paths)
        first, header = next(headers)
        size = header.width, header.height
        for path, header in headers:
            if (header.width, header.height) != size:
                raise InputError(
                    f"{path}: found {header.width}x{header.height} pixels, "
                    f"expected {size[0]}x{size[1]} as in {first}"
                )

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        """Reads uint8 RGB [N, H, W, 3], N at most `batch_size`, with a progress bar.

        Raises:
            InputError: a file is missing, damaged or no colour PNG.
        """
        with tqdm.tqdm(total=len(self.paths), desc=self.name, unit="image") as bar:
            for start in range(0, len(self.paths), batch_size):
                batch = [read_color(path) for path in self.paths[start : start + batch_size]]
                yield np.stack(batch)
                bar.update(len(batch))

    def state(self) -> str:
        """SHA-256 of the folder and its files' names, sizes and modification times.

        Raises:
            InputError: a file has gone.
        """
        digest = hashlib.sha256(os.fsencode(self.folder.resolve()))
        for path in self.paths:
            try:
                status = path.stat()
            except OSError as error:
                raise InputError(f"{path}: {error.strerror}; expected a PNG") from error
            name = path.relative_to(self.folder)
            digest.update(os.fsencode(f"\0{name}\0{status.st_size}\0{status.st_mtime_ns}"))
        return digest.hexdigest()


def find_images(name: str, folder: pathlib.Path) -> Images:
    """Finds the PNG files in a folder and in those below it.

    Raises:
        InputError: it is no folder or holds fewer than two.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise InputError(f"{folder}: found {found}, expected a folder of {name} images")
    files = (path for path in folder.rglob("*") if path.suffix.lower() == ".png")
    paths = sorted(path for path in files if not path.is_dir())
    if len(paths) < FEWEST:
        count = "1 PNG file" if paths else "no PNG file"
        raise InputError(f"{folder}: found {count}, expected at least {FEWEST}")
    return Images(name, folder, paths)


def compare(
    real_folder: pathlib.Path,
    fake_folder: pathlib.Path,
    protocol: str = fid.DEFAULT_PROTOCOL,
    cache_dir: pathlib.Path | None = None,
) -> dict[str, object]:
    """Computes every distance between two folders of PNG files.

    Args:
        real_folder: of real images, all of one size.
        fake_folder: of generated images, all of one size, which may be another.
        protocol: a key of `inception_input.PROTOCOLS`.
        cache_dir: the folder of the weights and of the real images' statistics; by default
            $SFLOW_CACHE or ~/.cache/sflow_jax.

    Returns:
        A record: the folders, their numbers of images, the protocol and `scores`, the numbers of
        `fid.scores`. Below four images in a folder the only one of them is FID.

    Raises:
        InputError: the weights are absent (the message has the command that gets them), a folder
            has fewer than two images, images are damaged or differ in size within a folder.
    """
    real, fake = find_images("real", real_folder), find_images("fake", fake_folder)
    extractor = fid.inception_extractor(protocol, cache_dir)
    fake.check()
    kept = MOST_KEPT if min(len(real.paths), len(fake.paths)) >= FEWEST_KEPT else 0
    key = {
        "files": real.state(),
        "weights": extractor.fingerprint,
        "protocol": protocol,
        "kept": str(kept),
    }
    compute_real = functools.partial(_statistics, real, extractor, kept)
    folder = cache_directory(cache_dir)
    try:
        real_statistics = cached(folder, key, compute_real)
    except OSError as error:
        raise _unwritable(folder, error) from error
    fake_statistics = _statistics(fake, extractor, kept)
    return {
        "real": str(real_folder.absolute()),
        "fake": str(fake_folder.absolute()),
        "num_real": len(real.paths),
        "num_fake": len(fake.paths),
        "protocol": protocol,
        "scores": fid.scores(real_statistics, fake_statistics, protocol),
    }


def _statistics(images: Images, extractor: FeatureExtractor, kept: int) -> FeatureStatistics:
    images.check()
    return collect(extractor.stream(images.batches(extractor.batch_size)), kept)


def format_report(record: Mapping) -> str:
    """The table of a record of `compare`, under what a reader has to know."""
    lines = [
        f"real: {record['num_real']} images in {record['real']}",
        f"fake: {record['num_fake']} images in {record['fake']}",
        f"Inception-v3 features by the protocol {record['protocol']}. Only KID is unbiased: "
        "compare the others between equal numbers of images.",
    ]
    if min(record["num_real"], record["num_fake"]) < FEWEST_KEPT:
        lines.append(f"No KID, precision and recall: they need {FEWEST_KEPT} images a folder.")
    width = max(map(len, record["scores"]))
    # A distance of nothing but rounding errors may come out below 0.
    table = [f"{name:<{width}}  {value:z12.6f}" for name, value in record["scores"].items()]
    return "\n".join([*lines, "", *table]) + "\n"


def write_results(output: pathlib.Path, record: Mapping) -> None:
    """Writes metrics.json and scores.txt.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        write_whole(output / METRICS_FILE, json.dumps(record, indent=2, allow_nan=False) + "\n")
        write_whole(output / TABLE_FILE, format_report(record))
    except OSError as error:
        raise _unwritable(output, error) from error


def _unwritable(folder: pathlib.Path, error: OSError) -> InputError:
    return InputError(f"{folder}: {error}; expected a folder with room to write")
