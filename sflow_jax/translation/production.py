"""From translated frames to the files of the set and the lines of its certificate."""

import functools
import pathlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from sflow_jax.data.images import encode_png
from sflow_jax.data.input_frames import InputBatch
from sflow_jax.files import sha256_of, write_whole
from sflow_jax.sampling.translation import progress_bar, translate
from sflow_jax.segmentation.agreement import measure_agreement
from sflow_jax.translation import certificate, training_set
from sflow_jax.translation.certificate import RECIPE_FILE, Line
from sflow_jax.translation.exports import ExportFrame
from sflow_jax.translation.job import Translation


def produce_missing(translation: Translation) -> list[Line]:
    """Translates the frames that are not done, with a progress bar, and certifies them.

    A frame is certified when all of its files are written: an interruption loses at most a batch.
    Memory grows by a line of the certificate for each frame.

    Returns:
        The whole certificate.

    Raises:
        InputError: a file of a frame cannot be read any more.
        OSError: a file of the set cannot be written.
    """
    output, missing = translation.settings.output, translation.missing
    begun = {frame.name for frame in missing}
    lines = [line for line in translation.lines.values() if line.frame not in begun]
    certificate.write_lines(output, lines)
    total, last = len(translation.frames), len(translation.variants) - 1
    writer = _Writer(translation)
    with progress_bar(total, total - len(missing)) as bar, ThreadPoolExecutor() as pool:
        for batch, variant, on_device in translate(translation, missing):
            pictures = np.asarray(on_device)
            segmenter = translation.segmenter
            predicted = segmenter.predict(pictures) if segmenter else None
            write = functools.partial(writer.write, batch, variant, pictures, predicted)
            written = list(pool.map(write, range(len(batch.frames))))
            certificate.append_lines(output, written)
            lines += written
            if variant == last:
                bar.update(len(batch.frames))
    return lines


class _Writer:
    """Writes the files of one variant of a frame, and its line."""

    def __init__(self, translation: Translation):
        self._translation = translation
        self._recipe = sha256_of(translation.settings.output / RECIPE_FILE)

    def write(
        self,
        batch: InputBatch,
        variant: int,
        pictures: np.ndarray,
        predicted: np.ndarray | None,
        index: int,
    ) -> Line:
        translation = self._translation
        frame = batch.frames[index]
        maps = {training_set.IMAGE: pictures[index], training_set.LABEL: batch.label[index]}
        if "instance" in batch.inputs:
            maps[training_set.INSTANCE] = batch.inputs["instance"][index]
        agreement = None
        if predicted is not None:
            table = translation.model.class_table
            agreement = measure_agreement(predicted[index], batch.label[index], table)
            maps[training_set.AGREEMENT] = agreement.mask
        exported = translation.export_frames[frame.name]
        recipe = translation.recipe
        return Line(
            frame=frame.name,
            variant=variant,
            inputs=self._inputs(exported),
            outputs=self._write_maps(frame.name, variant, maps) | self._copy(exported),
            agreement=agreement.share if agreement else None,
            class_iou=agreement.class_iou if agreement else {},
            seed=recipe["seed"],
            controls=recipe["variants"][variant]
            | self._style(translation.style_name(frame), variant),
            weights=recipe["weights"],
            code=recipe["code"],
            recipe=self._recipe,
        )

    def _inputs(self, frame: ExportFrame) -> dict[str, dict[str, str]]:
        folder = self._translation.settings.input
        return {
            key: {
                "path": path.relative_to(folder).as_posix(),
                "sha256": sha256_of(path),
            }
            for key, path in (("cg", frame.cg), ("label", frame.label))
        }

    def _style(self, name: str, variant: int) -> dict[str, Any]:
        styles = self._translation.model.method.styles([name], variant)
        return {key: np.asarray(values)[0].tolist() for key, values in styles.items()}

    def _write_maps(
        self, frame: str, variant: int, maps: Mapping[str, np.ndarray]
    ) -> dict[str, str]:
        hashes = {}
        for key, array in maps.items():
            relative = self._translation.relative_path(frame, key, variant)
            path = training_set.find(self._translation.settings.output, relative)
            write_whole(path, encode_png(array))
            hashes[relative] = sha256_of(path)
        return hashes

    def _copy(self, frame: ExportFrame) -> dict[str, str]:
        settings, hashes = self._translation.settings, {}
        for annotation in frame.annotations:
            relative = training_set.annotation_path(frame, annotation, settings.input)
            path = pathlib.Path(settings.output, relative)
            training_set.copy_untouched(annotation, path)
            hashes[relative] = sha256_of(path)
        return hashes
