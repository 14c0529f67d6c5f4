"""FID, KID, precision and recall of one folder of images against another, read recursively."""

import pathlib
from collections.abc import Iterator, Mapping

import numpy as np
import tqdm

from sflow_jax import sharding
from sflow_jax.data import listing
from sflow_jax.data.images import check_header, read_color, require_size
from sflow_jax.errors import InputError
from sflow_jax.evaluation.distances import FEWEST, FEWEST_KEPT
from sflow_jax.evaluation.folders import (
    ComparedFolder,
    compute_statistics,
    format_scores,
    walk,
)
from sflow_jax.files import require_folder
from sflow_jax.metrics import fid
from sflow_jax.metrics.feature_statistics import MOST_KEPT
from sflow_jax.sampling.job import GRID_FILE


class Images(ComparedFolder):
    """Image files, at least two; see `find_images`."""

    def check(self) -> None:
        """Reads the headers of all files.

        Raises:
            InputError: a file is no color image, is truncated or has another size than the first.
        """
        sizes = ((path, check_header(path, "image").size) for path in self.paths)
        first = next(sizes)
        for path, size in sizes:
            require_size(path, size, *first)

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        """Reads uint8 RGB [N, H, W, 3], N at most `batch_size`, with a progress bar.

        Raises:
            InputError: a file is missing, damaged or no color image.
        """
        paths = sharding.share_of_host(self.paths)
        with tqdm.tqdm(total=len(paths), desc=self.name, unit="image") as bar:
            for start in range(0, len(paths), batch_size):
                batch = [read_color(path) for path in paths[start : start + batch_size]]
                yield np.stack(batch)
                bar.update(len(batch))


def find_images(name: str, folder: pathlib.Path) -> Images:
    """Finds the images in a folder and in those below it; see `folders.walk`.

    The picture that `sample --grid` makes of its results does not count. Files of formats that are
    not read are left out with a note.

    Raises:
        InputError: it is no folder, or holds fewer than two.
    """
    require_folder(folder, f"a folder of {name} images")
    paths, left_out = [], listing.LeftOut()
    for path in sorted(path for _, files in walk(folder) for path in files):
        if path.suffix.lower() not in listing.COLOR_SUFFIXES:
            left_out.add(path)
        elif path != folder / GRID_FILE:
            paths.append(path)
    left_out.report(folder)
    if len(paths) < FEWEST:
        count = "1 image" if paths else "no image"
        hint = "" if paths else "; videos are compared with --videos"
        raise InputError(f"{folder}: found {count}, expected at least {FEWEST}{hint}")
    return Images(name, folder, paths)


def compare_images(
    real_folder: pathlib.Path,
    fake_folder: pathlib.Path,
    protocol: str = fid.DEFAULT_PROTOCOL,
    cache_dir: pathlib.Path | None = None,
) -> dict[str, object]:
    """Computes every distance between two folders of images.

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
    kept = MOST_KEPT if min(len(real.paths), len(fake.paths)) >= FEWEST_KEPT else 0
    key = {"protocol": protocol}
    statistics = compute_statistics(real, fake, extractor, key, cache_dir, kept)
    return {
        "real": str(real_folder.absolute()),
        "fake": str(fake_folder.absolute()),
        "num_real": len(real.paths),
        "num_fake": len(fake.paths),
        "protocol": protocol,
        "scores": fid.scores(*statistics, protocol),
    }


def format_image_report(record: Mapping) -> str:
    """The table of a record of `compare`, under what a reader has to know."""
    notes = [
        f"real: {record['num_real']} images in {record['real']}",
        f"fake: {record['num_fake']} images in {record['fake']}",
        f"Inception-v3 features by the protocol {record['protocol']}. Only KID is unbiased: "
        "compare the others between equal numbers of images.",
    ]
    if min(record["num_real"], record["num_fake"]) < FEWEST_KEPT:
        notes.append(f"No KID, precision and recall: they need {FEWEST_KEPT} images a folder.")
    return format_scores(notes, record["scores"])
