"""Whether a set still is what its certificate says, and can be made again bit for bit."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tqdm

from sflow_jax.data import images
from sflow_jax.data.input_frames import InputFrame
from sflow_jax.data.labels import CLASSES_FILE
from sflow_jax.errors import InputError
from sflow_jax.files import not_found, read_json_object, sha256_of, walk
from sflow_jax.sampling.translation import translate
from sflow_jax.translation import certificate, training_set
from sflow_jax.translation.certificate import RECIPE_FILE, Line
from sflow_jax.translation.contact_sheet import SHEET_FILE
from sflow_jax.translation.job import Settings, Translation, assemble
from sflow_jax.translation.selection import LIST_FILE

_WRITER = "translate"
_READ = {
    "num_frames": int,
    "weights": str,
    "code": str,
    "class_table": str,
}  # of the recipe, beside the settings
_TOP_LEVEL = {RECIPE_FILE, certificate.CERTIFICATE_FILE, CLASSES_FILE, LIST_FILE, SHEET_FILE}
# What a picture depends on but does not contain: a difference explains others.
_CONTEXT = ("code", "environment", "batch_sizes")
_MADE_OF = (
    "weights",
    "palettes",
    "frames",
    "classes",
    "class_table",
    "variants",
    "controls",
    "config",
)


@dataclasses.dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        num_files: whose SHA-256 was compared.
        num_regenerated: pictures that were made again.
        problems: a line each: what is not as certified.
        notes: a line each: what is different here, and may explain problems.
    """

    num_files: int
    num_regenerated: int
    problems: Sequence[str]
    notes: Sequence[str]


def read_recipe(output: pathlib.Path) -> dict[str, Any]:
    """Reads what all frames of a set were made of.

    Raises:
        InputError: there is no set, or its recipe is damaged.
    """
    path = output / RECIPE_FILE
    recipe = read_json_object(path, _WRITER)
    try:
        Settings.from_json(recipe)
        for key, kind in _READ.items():
            if type(recipe[key]) is not kind:
                raise TypeError(f"{key} is {recipe[key]!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {error!r}; expected the JSON that {_WRITER} wrote") from error
    return recipe


def verify(output: pathlib.Path, settings: Settings, num_regenerated: int | None) -> Verification:
    """Compares all files with the certificate, and makes some frames again.

    Args:
        output: the folder of the set.
        settings: those of its recipe, with the folders in which run and export are now.
        num_regenerated: how many frames at least, evenly chosen; None is all.

    Raises:
        InputError: the set, the run or the export cannot be read at all.
    """
    recipe, lines = read_recipe(output), certificate.read_lines(output)
    has_export = settings.input.is_dir()
    if not has_export and num_regenerated != 0:
        expected = "the simulator's output, named with --input, or --regenerate 0"
        raise not_found(settings.input, expected)
    if not lines:
        raise InputError(f"{output / certificate.CERTIFICATE_FILE}: found no frames, expected some")
    problems = [*_incomplete(output, recipe, lines), *_uncertified(output, lines)]
    files = _certified_files(output, lines) | {output / CLASSES_FILE: recipe["class_table"]}
    if has_export:
        files |= _exported_files(settings.input, lines)
    with ThreadPoolExecutor() as pool:
        found = pool.map(_compare_file, files.items())
        bar = tqdm.tqdm(found, "hashing", len(files), unit="file", leave=False)
        problems += [problem for problem in bar if problem]
    if num_regenerated == 0:
        notes = [] if has_export else [f"{settings.input}: is not here, and was not compared"]
        return Verification(len(files), 0, problems, notes)
    translation = assemble(settings, output, str(output / RECIPE_FILE))
    now = translation.recipe
    problems += [
        f"{key}: found others than those of recipe.json"
        for key in _MADE_OF
        if _plain(now[key]) != recipe.get(key)
    ]
    notes = [
        f"{key} is {_plain(now[key])} here and was {recipe.get(key)}"
        for key in _CONTEXT
        if _plain(now[key]) != recipe.get(key)
    ]
    frames = _choose(translation, num_regenerated)
    wrong = list(_regenerate(translation, frames))
    num_pictures = len(frames) * len(translation.variants)
    return Verification(len(files), num_pictures, [*problems, *wrong], notes)


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _incomplete(
    output: pathlib.Path, recipe: dict[str, Any], lines: Sequence[Line]
) -> Iterator[str]:
    keys = {line.key for line in lines}
    expected = recipe["num_frames"] * recipe["num_variants"]
    if len(keys) != expected:
        yield f"{output}: found {len(keys)} certified pictures, expected {expected}"
    if len(keys) != len(lines):
        yield f"{output}: found {len(lines) - len(keys)} frames certified twice"
    digest = sha256_of(output / RECIPE_FILE)
    for line in lines:
        if (line.recipe, line.weights, line.code) != (digest, recipe["weights"], recipe["code"]):
            yield f"{line.frame}: certified with another {RECIPE_FILE} than that of {output}"


def _uncertified(output: pathlib.Path, lines: Sequence[Line]) -> Iterator[str]:
    """Files that nothing certifies: they may have been added, beside another one or instead."""
    known = {path for line in lines for path in line.outputs}
    found = set()
    for place, _, names in walk(output):
        for path in sorted(place / name for name in names):
            relative = path.relative_to(output)
            if relative.as_posix() in _TOP_LEVEL:
                continue
            if relative.parts[0] == training_set.SET_ASIDE:
                relative = relative.relative_to(training_set.SET_ASIDE)
            if relative not in found and relative.as_posix() in known:
                found.add(relative)
            elif relative in found:
                yield f"{path}: is in the set twice, as a frame that is set aside, too"
            else:
                yield f"{path}: is not certified"


def _certified_files(output: pathlib.Path, lines: Sequence[Line]) -> dict[pathlib.Path, str]:
    return {
        training_set.find(output, path): digest
        for line in lines
        for path, digest in line.outputs.items()
    }


def _exported_files(export: pathlib.Path, lines: Sequence[Line]) -> dict[pathlib.Path, str]:
    return {
        export / entry["path"]: entry["sha256"] for line in lines for entry in line.inputs.values()
    }


def _compare_file(expected: tuple[pathlib.Path, str]) -> str:
    path, digest = expected
    if not path.is_file():
        return f"{path}: not found, expected SHA-256 {digest}"
    found = sha256_of(path)
    return "" if found == digest else f"{path}: found SHA-256 {found}, certified {digest}"


def _choose(translation: Translation, count: int | None) -> list[InputFrame]:
    """Whole batches, or of a method that remembers whole clips, with at least so many frames."""
    groups = translation.batches
    if translation.model.method.remembers:
        groups = [list(clip.frames) for clip in translation.clips]
    if count is None:
        return [frame for group in groups for frame in group]
    size = max(map(len, groups))
    wanted = min(len(groups), -(-count // size))
    chosen = [groups[i * len(groups) // wanted] for i in range(wanted)]
    return [frame for group in chosen for frame in group]


def _regenerate(translation: Translation, frames: list[InputFrame]) -> Iterator[str]:
    with tqdm.tqdm(total=len(frames), desc="making again", unit="frame", leave=False) as bar:
        for batch, variant, pictures in translate(translation, frames):
            for frame, picture in zip(batch.frames, np.asarray(pictures), strict=False):
                path = translation.paths(frame)[variant]
                if not path.is_file():
                    continue  # which its hash has told already
                found = images.read_color(path)
                if not np.array_equal(found, picture):
                    most = int(np.abs(found.astype(int) - picture).max())
                    yield f"{path}: made again, it differs by up to {most} of 255"
            bar.update(len(batch.frames) / len(translation.variants))
