"""A translation: its settings, its run and its frames, checked before anything is written."""

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sflow_jax import sharding
from sflow_jax.data import images, input_frames
from sflow_jax.data.datasets import SMALLEST_SIDE
from sflow_jax.data.input_frames import Clip, InputBatch, InputFrame, ReadLabelMap
from sflow_jax.errors import InputError
from sflow_jax.inference import TrainedModel, batch_size_for, restore_model
from sflow_jax.sampling import record

GRID_FILE = "grid.png"

_FPS_RANGE = (1, 1000)  # what players can show, and ffmpeg can write


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings that the user chose.

    Attributes:
        workdir: the folder of the training run.
        input: the frames: a folder with `label/` and `cg/` or `image/`, or a tree of such folders.
        output: the folder of the results, which may hold an interrupted run of the same settings.
        num_variants: versions of every frame.
        seed: of the ensemble weights; without one, a single variant has those of training.
        edges: the source of edges: 'cg', 'image', 'none', or 'auto', which is 'cg' if there are CG
            frames and 'image' otherwise.
        step: which checkpoint; the newest by default.
        limit: how many frames to translate, with `video` of each clip; all by default.
        batch_size: frames at once; by default as many as make a megapixel, at most 8.
        grid: also show results next to their input, and next to the real images if there are any.
        video: the frames of each folder are a clip, to be put together as a video.
        fps: frames per second of the videos.
        frame_step: from the number of a frame to the next one's in clips; see
            `frame_files.consecutive`. By default that of the run's data.
    """

    workdir: pathlib.Path
    input: pathlib.Path
    output: pathlib.Path
    num_variants: int = 1
    seed: int | None = None
    edges: str = "auto"
    step: int | None = None
    limit: int | None = None
    batch_size: int | None = None
    grid: bool = False
    video: bool = False
    fps: float = 15.0
    frame_step: int | None = None


@dataclasses.dataclass(frozen=True)
class Sampling:
    """A translation that can begin, or continue.

    Attributes:
        settings: those that the user chose.
        model: the restored run.
        edge_source: the source of edges: 'cg', 'image' or 'none'.
        variants: the controls of every variant, as `Method.variants` draws them; the same for all
            frames.
        results: all frames, in the order of translation, each with the path of its result in the
            folder of a variant.
        clips: the same frames as clips, for videos and for a method that makes a frame from those
            before; empty without either.
    """

    settings: Settings
    model: TrainedModel
    edge_source: str
    variants: Sequence[Mapping[str, Any]]
    results: Mapping[InputFrame, pathlib.PurePath]
    clips: Sequence[Clip]

    @property
    def frames(self) -> list[InputFrame]:
        """All frames, in the order of translation."""
        return list(self.results)

    @functools.cached_property
    def batch_sizes(self) -> dict[tuple[int, int], int]:
        """Frames per batch for each size of frames, so that each size compiles once."""
        wanted = self.settings.batch_size
        counts = collections.Counter(frame.size for frame in self.results)
        return {size: min(count, wanted or batch_size_for(*size)) for size, count in counts.items()}

    @property
    def read_label_map(self) -> ReadLabelMap:
        """Reads the label map of a frame."""
        return functools.partial(images.read_label_map, class_table=self.model.class_table)

    @property
    def folders(self) -> list[pathlib.Path]:
        """The folder of the results of each variant."""
        output, num_variants = self.settings.output, len(self.variants)
        if num_variants == 1:
            return [output]
        return [output / f"variant_{k:02d}" for k in range(num_variants)]

    def paths(self, frame: InputFrame) -> list[pathlib.Path]:
        """The files of all variants of a frame."""
        return [folder / self.results[frame] for folder in self.folders]

    def controls(self, batch: InputBatch, variant: int) -> dict[str, Any]:
        """The controls of a batch: of the variant, of the look of each frame or clip, and inputs.

        Args:
            batch: the frames.
            variant: its number.
        """
        names = [self.style_name(frame) for frame in batch.frames]
        names += names[-1:] * (len(batch.label) - len(names))
        styles = self.model.method.styles(names, variant)
        return {**self.variants[variant], **styles, **batch.inputs}

    def style_name(self, frame: InputFrame) -> str:
        """What decides about the look of a frame: the name of its clip, or its own."""
        name = self._clip_names.get(frame, frame.name)
        # A clip that is the input itself has the name of its folder, as among others.
        return self.settings.input.resolve().name if name == "." else name

    @functools.cached_property
    def _clip_names(self) -> dict[InputFrame, str]:
        return {frame: clip.name for clip in self.clips for frame in clip.frames}

    @property
    def own_frames(self) -> list[InputFrame]:
        """This process's share of the frames, in order; of a method that remembers, of the clips.

        It is a share of all, and not of those that are missing, which other processes make fewer.
        """
        if not self.model.method.remembers:
            return list(sharding.share_of_host(self.frames))
        return [frame for clip in self.own_clips for frame in clip.frames]

    @property
    def own_clips(self) -> Sequence[Clip]:
        """This process's share of the clips."""
        return sharding.share_of_host(self.clips)

    @property
    def missing(self) -> list[InputFrame]:
        """The own frames to translate; of a method that remembers always whole clips."""
        if not self.model.method.remembers:
            return [frame for frame in self.own_frames if not self.is_done(frame)]
        begun = [clip for clip in self.own_clips if not all(map(self.is_done, clip.frames))]
        return [frame for clip in begun for frame in clip.frames]

    def begins_clip(self, frame: InputFrame) -> bool:
        """Whether it is the first frame of a clip."""
        return frame in self._first_frames

    @functools.cached_property
    def _first_frames(self) -> frozenset[InputFrame]:
        return frozenset(clip.frames[0] for clip in self.clips)

    def is_done(self, frame: InputFrame) -> bool:
        """Whether all variants of a frame exist and none is older than the frame's own files."""
        if not all(path.is_file() for path in self.paths(frame)):
            return False
        written = min(path.stat().st_mtime_ns for path in self.paths(frame))
        return written >= max(path.stat().st_mtime_ns for path in frame.guides)


def plan(settings: Settings) -> Sampling:
    """Restores a run, checks the frames and records the settings in the output folder.

    Raises:
        InputError: the run, the input or the output cannot be used.
    """
    lowest, highest = _FPS_RANGE
    if not lowest <= settings.fps <= highest:  # not a number is not in it either
        raise InputError(f"--fps: found {settings.fps:g}, expected {lowest} to {highest}")
    groups = input_frames.find_groups(settings.input)
    edge_source = input_frames.resolve_edge_source(groups, settings.edges)
    model = restore(settings, edge_source)
    frames = input_frames.list_frames(
        settings.input, groups, edge_source, settings.grid, model.method.input_keys
    )
    step = model.config.data.frame_step if settings.frame_step is None else settings.frame_step
    clips: list[Clip] = []
    if settings.video:
        clips = _limited(input_frames.find_clips(frames, step), settings.limit)
        results = _clip_results(clips)
    else:
        if model.method.remembers:  # by number, not by name
            every_clip = input_frames.find_clips(frames, step)
            frames = [frame for clip in every_clip for frame in clip.frames]
        frames = frames[: settings.limit]
        clips = input_frames.find_clips(frames, step) if model.method.remembers else []
        results = _image_results(frames)
    seed = resolve_seed(settings)
    sampling = Sampling(
        settings=settings,
        model=model,
        edge_source=edge_source,
        variants=model.method.variants(settings.num_variants, seed),
        results=results,
        clips=clips,
    )
    check_sizes(sampling.frames)
    _check_output(settings.output, groups)
    now = _describe(sampling, seed)
    record.check_output(settings.output, now)
    input_frames.check_frames(sampling.missing, model.class_table)
    sharding.wait_for_hosts("planned")  # nothing is written before all have found the folder usable
    if sharding.is_first_host():
        record.save_record(settings.output, now)
    return sampling


def resolve_seed(settings: Settings) -> int | None:
    """The seed that was chosen, or 0 where several variants need one."""
    if settings.seed is None and settings.num_variants > 1:
        return 0
    return settings.seed


def restore(
    settings: Settings, edge_source: str, changes: Mapping[str, Any] | None = None
) -> TrainedModel:
    """Restores the run and checks that its variants would differ.

    Args:
        settings: that name it.
        edge_source: 'cg', 'image' or 'none'.
        changes: options that are to differ from training.

    Raises:
        InputError: there is no such run, or it makes one version of a scene only.
    """
    model = restore_model(settings.workdir, settings.step, changes)
    num_variants = settings.num_variants
    if num_variants > 1 and model.method.styles([""]):
        num_variants = 1  # they differ in more than edges: none is refused below
    if edge_source == "none":
        if num_variants > 1:
            raise InputError(
                f"--num_variants: found {num_variants}, expected 1 with --edges none: variants "
                "differ in the edges that the generator sees"
            )
        usages = model.method.usages(model.controls).values()
        edgeless = next((usage for usage in usages if not usage.sees_edge_image), None)
        return dataclasses.replace(model, controls=edgeless.controls) if edgeless else model
    if num_variants > 1 and (reason := model.method.why_no_variants(model.controls)):
        raise InputError(
            f"--num_variants: found {num_variants}, expected 1 at step {model.step}: {reason}"
        )
    return model


def _describe(sampling: Sampling, seed: int | None) -> dict:
    """Everything that the results depend on."""
    settings, model = sampling.settings, sampling.model
    described = {
        "workdir": str(settings.workdir.absolute()),
        "checkpoint_step": model.step,
        "input": str(settings.input.absolute()),
        "edges": sampling.edge_source,
        "seed": seed,
        "variants": [
            {name: np.asarray(value).tolist() for name, value in variant.items()}
            for variant in sampling.variants
        ],
        "controls": dict(model.controls),
        "config": model.config.to_dict(),
    }
    if settings.video:
        # The frames of a clip are numbered anew, from its first one.
        first_frames = {clip.name: clip.frames[0].name for clip in sampling.clips}
        described |= {"video": True, "fps": settings.fps, "first_frames": first_frames}
    return described


def _limited(clips: Sequence[Clip], limit: int | None) -> list[Clip]:
    return [dataclasses.replace(clip, frames=clip.frames[:limit]) for clip in clips]


def _clip_results(clips: Sequence[Clip]) -> dict[InputFrame, pathlib.PurePath]:
    return {
        frame: pathlib.PurePath(clip.name, "frames", f"{index:06d}.png")
        for clip in clips
        for index, frame in enumerate(clip.frames)
    }


def _image_results(frames: Sequence[InputFrame]) -> dict[InputFrame, pathlib.PurePath]:
    results = {frame: pathlib.PurePath(f"{frame.name}.png") for frame in frames}
    for frame, path in results.items():
        if path == pathlib.PurePath(GRID_FILE):
            raise InputError(f"{frame.label}: found this name, which --grid needs for its sheet")
    return results


def check_sizes(frames: Sequence[InputFrame]) -> None:
    """Checks that a generator can take the frames.

    Raises:
        InputError: one is too small.
    """
    for frame in frames:
        height, width = frame.size
        if min(frame.size) < SMALLEST_SIDE:
            raise InputError(
                f"{frame.label}: found {width}x{height} pixels, expected at least "
                f"{SMALLEST_SIDE}x{SMALLEST_SIDE}"
            )


def _check_output(output: pathlib.Path, groups: Sequence[pathlib.Path]) -> None:
    """Checks that results cannot overwrite the input."""
    target = output.resolve()
    for folder in (group.resolve() / key for group in groups for key in input_frames.INPUT_KEYS):
        if target == folder or folder in target.parents:
            raise InputError(f"{output}: is part of the input, expected another --output")
