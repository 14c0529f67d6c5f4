"""A translation of an export: its settings, its model and its frames, checked before any work."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

from sflow_jax.data import images, input_frames
from sflow_jax.data.class_map import ClassMap
from sflow_jax.data.input_frames import InputFrame, ReadLabelMap
from sflow_jax.data.labels import CLASSES_FILE
from sflow_jax.errors import InputError
from sflow_jax.evaluation.evaluation import SEGMENTATION, Choice, load_segmenter
from sflow_jax.evaluation.segmenters import NamedSegmenter
from sflow_jax.files import sha256_of, write_json, write_whole
from sflow_jax.inference import TrainedModel
from sflow_jax.metrics.feature_statistics import fingerprint
from sflow_jax.runs.palettes import PALETTES_FILE
from sflow_jax.sampling import job, record
from sflow_jax.sampling.job import Sampling
from sflow_jax.translation import certificate, training_set
from sflow_jax.translation.certificate import RECIPE_FILE, Line
from sflow_jax.translation.classes import Classes, check_frames, plan_classes
from sflow_jax.translation.exports import FORMATS, Export, ExportFrame, find_export
from sflow_jax.translation.typed import check_fields

_EDGES = "cg"


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the user chose and the frames depend on.

    Attributes:
        workdir: the folder of the training run.
        input: the folder of the export.
        format: of the export, one of `exports.FORMATS`; None is the one that is found.
        camera_folders: the names of the folders of CG frames and labels; None is those found.
        class_map: names of the model's classes by those of the export, as `ClassMap` has them.
        split: of the set, for frames that are in none.
        num_variants: versions of every frame.
        seed: of the ensemble weights; without one, a single variant has those of training.
        step: which checkpoint; the newest by default.
        batch_size: frames at once; by default as many as make a megapixel, at most 8.
        video: the frames of a sequence are a clip, which has one look.
        frame_step: from the number of a clip's frame to the next one's; by default that of the
            run's data.
        segmenter: that measures agreement, as `evaluate --segmenter` names it; None is the one for
            the run's dataset.
        edge_quantile: in place of the run's `edges.quantile`.
    """

    workdir: pathlib.Path
    input: pathlib.Path
    format: str | None = None
    camera_folders: tuple[str, str] | None = None
    class_map: ClassMap = dataclasses.field(default_factory=lambda: ClassMap({}, {}))
    split: str = "train"
    num_variants: int = 1
    seed: int | None = None
    step: int | None = None
    batch_size: int | None = None
    video: bool = False
    frame_step: int | None = None
    segmenter: str | None = None
    edge_quantile: float | None = None

    def to_json(self) -> dict[str, Any]:
        """All of them as JSON has them."""
        values = dataclasses.asdict(self)
        return values | {key: str(values[key].absolute()) for key in ("workdir", "input")}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Settings":
        """What `to_json` gave, be there more or not.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        values = {field.name: values[field.name] for field in dataclasses.fields(cls)}
        folders = values["camera_folders"]
        changes = {
            **{key: pathlib.Path(values[key]) for key in ("workdir", "input")},
            "class_map": ClassMap(**values["class_map"]),
            "camera_folders": tuple(folders) if folders else None,
        }
        settings = cls(**{**values, **changes})
        check_fields(settings)
        if settings.format not in FORMATS:
            raise ValueError(f"format is {settings.format!r}")
        return settings


@dataclasses.dataclass(frozen=True)
class Translation(Sampling):
    """A translation of an export that can begin, or continue.

    Attributes:
        export: what the simulator wrote.
        classes: its own and those of the model.
        segmenter: that measures agreement, or None.
        recipe: all that the frames depend on, as recipe.json has it.
        lines: the certificate as an earlier call has left it.
    """

    export: Export
    classes: Classes
    segmenter: NamedSegmenter | None
    recipe: Mapping[str, Any]
    lines: Mapping[tuple[str, int], Line]

    @property
    def read_label_map(self) -> ReadLabelMap:
        """Reads the label map of a frame in the classes of the model."""
        return self.classes.read_label_map

    @functools.cached_property
    def export_frames(self) -> dict[str, ExportFrame]:
        """The frames of the export by name."""
        return {frame.name: frame for frame in self.export.frames}

    def relative_path(self, frame: str, key: str, variant: int) -> str:
        """Where the set has a file of a frame, by the frame's name."""
        own_variant = None if len(self.variants) == 1 else variant
        return training_set.relative_path(frame, key, own_variant)

    def paths(self, frame: InputFrame) -> list[pathlib.Path]:
        """The files of all variants of a frame, be it set aside or not."""
        output, key = self.settings.output, training_set.IMAGE
        names = [self.relative_path(frame.name, key, k) for k in range(len(self.variants))]
        return [training_set.find(output, name) for name in names]

    def is_done(self, frame: InputFrame) -> bool:
        """Whether all variants of a frame are certified, and not older than its files."""
        variants = range(len(self.variants))
        return all((frame.name, k) in self.lines for k in variants) and super().is_done(frame)

    @property
    def missing(self) -> list[InputFrame]:
        """The frames of all batches in which one is not done.

        In another batch the last bit of a frame may be another: what is made again is made in the
        same company.
        """
        if self.model.method.remembers:
            return super().missing
        return [
            frame for batch in self.batches if not all(map(self.is_done, batch)) for frame in batch
        ]

    @property
    def batches(self) -> list[list[InputFrame]]:
        """The frames that are translated together."""
        batches = []
        for size, count in self.batch_sizes.items():
            frames = [frame for frame in self.frames if frame.size == size]
            batches += [frames[i : i + count] for i in range(0, len(frames), count)]
        return batches


def assemble(settings: Settings, output: pathlib.Path, origin: str) -> Translation:
    """Restores the model, lists the frames of the export, and writes nothing.

    Args:
        settings: of the user.
        output: the folder of the set.
        origin: of the class map, for messages.

    Raises:
        InputError: the run or the export cannot be used.
    """
    own = job.Settings(
        workdir=settings.workdir,
        input=settings.input,
        output=output,
        num_variants=settings.num_variants,
        seed=settings.seed,
        step=settings.step,
        batch_size=settings.batch_size,
        video=settings.video,
    )
    quantile = settings.edge_quantile
    changes = {} if quantile is None else {"edges.quantile": quantile}
    model = job.restore(own, _EDGES, changes)
    export = find_export(
        settings.input, model.class_table, settings.format, settings.split, settings.camera_folders
    )
    classes = plan_classes(export.class_table, model.class_table, settings.class_map, origin)
    frames = [_input_frame(frame, model) for frame in export.frames]
    clips = []
    if settings.video or model.method.remembers:
        step = settings.frame_step
        step = model.config.data.frame_step if step is None else step
        clips = input_frames.find_clips(frames, step)
        frames = [frame for clip in clips for frame in clip.frames]
    job.check_sizes(frames)
    choice = Choice(metrics=(SEGMENTATION,), segmenter=settings.segmenter)
    found = dataclasses.replace(
        settings, format=export.format, step=model.step, seed=job.resolve_seed(own)
    )
    translation = Translation(
        settings=own,
        model=model,
        edge_source=_EDGES,
        variants=model.method.variants(settings.num_variants, found.seed),
        results={frame: pathlib.PurePath(f"{frame.name}.png") for frame in frames},
        clips=clips,
        export=export,
        classes=classes,
        segmenter=load_segmenter(model, choice),
        recipe={},
        lines={line.key: line for line in certificate.read_lines(output)},
    )
    return dataclasses.replace(translation, recipe=_describe(found, translation))


def plan(
    settings: Settings, output: pathlib.Path, origin: str, needs_segmenter: bool = False
) -> Translation:
    """Checks everything, and records the recipe in the folder of the set.

    Args:
        settings: of the user.
        output: the folder of the set, which may hold an interrupted translation.
        origin: of the class map, for messages.
        needs_segmenter: whether agreement has to be measured.

    Raises:
        InputError: the run, the export or the folder of the set cannot be used, or the export has
            classes for which the model has none.
    """
    if output.resolve().is_relative_to(settings.input.resolve()):
        raise InputError(f"{output}: is part of the input, expected another --output")
    translation = assemble(settings, output, origin)
    if needs_segmenter and not translation.segmenter:
        raise InputError(
            "--min_agreement: found no segmenter for the data of this run, expected one of python "
            "-m sflow_jax.train_segmenter, named with --segmenter"
        )
    record.check_output(output, dict(translation.recipe), RECIPE_FILE, "translate")
    missing = [translation.export_frames[frame.name] for frame in translation.missing]
    check_frames(missing, translation.classes)
    if not (output / RECIPE_FILE).exists():
        write_json(output / RECIPE_FILE, translation.recipe)
    write_whole(output / CLASSES_FILE, translation.model.class_table.to_json())
    return translation


def _hash_if_file(name: str | None) -> str | None:
    return sha256_of(pathlib.Path(name)) if name and pathlib.Path(name).is_file() else None


def _input_frame(frame: ExportFrame, model: TrainedModel) -> InputFrame:
    needs_instances = "instance" in model.method.input_keys
    if needs_instances and not frame.instance:
        raise InputError(
            f"{frame.label}: found no map of instances beside it, which this run needs; expected "
            "our own layout with instance/"
        )
    header = images.check_header(frame.cg, "cg")
    width, height = header.size
    instance = frame.instance if needs_instances else None
    return InputFrame(frame.name, frame.label, frame.cg, None, (height, width), instance)


def _describe(settings: Settings, translation: Translation) -> dict[str, Any]:
    """All that the frames depend on."""
    model, names = translation.model, [frame.name for frame in translation.frames]
    palettes = settings.workdir / PALETTES_FILE
    segmenter = translation.segmenter
    return {
        **settings.to_json(),
        "num_frames": len(names),
        "frames": certificate.hash_text("\n".join(names)),
        "classes": translation.classes.names,
        "class_table": certificate.hash_text(model.class_table.to_json()),
        "weights": fingerprint(model.params),
        "palettes": sha256_of(palettes) if palettes.exists() else None,
        "code": certificate.hash_code(),
        "variants": [
            {name: value.tolist() for name, value in variant.items()}
            for variant in translation.variants
        ],
        "controls": dict(model.controls),
        "batch_sizes": {f"{w}x{h}": count for (h, w), count in translation.batch_sizes.items()},
        "agreement_by": segmenter.title if segmenter else None,
        "segmenter_weights": _hash_if_file(settings.segmenter),
        "config": model.config.to_dict(),
        "environment": certificate.describe_machine(),
    }
