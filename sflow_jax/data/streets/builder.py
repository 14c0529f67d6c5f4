"""The `streets` dataset: clips of the simulator, rendered by all cores."""

import dataclasses
import os

import numpy as np

from sflow_jax.data import builder, labels
from sflow_jax.data.example import Schema
from sflow_jax.data.flow import farneback_flow
from sflow_jax.data.streets import simulator
from sflow_jax.errors import InputError

_SPLITS = ("train", "validation", "test")
_SEEDS_PER_SPLIT = 1_000_000  # so that no street is in two splits


class Streets(builder.ExampleBuilder):
    """Every example is another street: one frame of it, or two consecutive ones."""

    def __init__(
        self,
        *,
        height: int,
        width: int,
        frames: int,
        num_train: int,
        num_validation: int,
        num_test: int,
        seed: int,
        data_dir: str | os.PathLike | None = None,
    ):
        """Describes the dataset; nothing is rendered yet.

        Args:
            height: H, pixels.
            width: W, pixels.
            frames: 1, or 2 for pairs with `flow`, `exact_flow` and `occlusion`.
            num_train: examples of the split `train`; likewise the next two.
            num_validation: 0 leaves the split out.
            num_test: 0 leaves the split out.
            seed: other seeds give other streets.
            data_dir: folder of prepared datasets.

        Raises:
            InputError: a number is out of range; names the config's field.
        """
        if not height:
            raise InputError("config.data.height: found 0, expected a size to render streets at")
        simulator.check_memory("config.data.height and width", height, width)
        sizes = dict(zip(_SPLITS, (num_train, num_validation, num_test), strict=True))
        for split, size in sizes.items():
            _check_range(f"num_{split}", size, _SEEDS_PER_SPLIT)
        _check_range("streets_seed", seed, 2**40)
        self._seed = seed
        self._split_sizes = {split: size for split, size in sizes.items() if size}
        is_pair = frames == 2
        schema = Schema(
            height, width, frames, instance=True, cg=True, depth=True,
            flow=is_pair, exact_flow=is_pair, occlusion=is_pair,
        )  # fmt: skip
        super().__init__(
            schema=schema,
            class_table=labels.STREETS,
            contents=f"{simulator.VERSION} {seed} {self._split_sizes} {schema.keys}",
            data_dir=data_dir,
        )

    @property
    def split_sizes(self) -> dict[str, int]:
        """The number of examples of each split."""
        return self._split_sizes

    def recipe(self, split: str) -> tuple["_RenderExample", range]:
        """Renders the examples of a split by their number."""
        first_seed = (len(_SPLITS) * self._seed + _SPLITS.index(split)) * _SEEDS_PER_SPLIT
        return _RenderExample(split, first_seed, self.schema), range(self._split_sizes[split])


@dataclasses.dataclass(frozen=True)
class _RenderExample:
    """Renders the examples of a split; a class, so that it can be pickled to other processes."""

    split: str
    first_seed: int
    schema: Schema

    def __call__(self, index: int) -> dict:
        schema = self.schema
        clip = simulator.render_clip(
            self.first_seed + index,
            num_frames=schema.frames,
            height=schema.height,
            width=schema.width,
        )
        arrays = {key: clip[key] for key in ("image", "label", "instance", "cg")}
        arrays["depth"] = clip["depth"]
        name = f"{self.split}/{index:06d}"
        if schema.frames == 1:
            return arrays | {"name": name}
        if schema.flow:
            arrays["flow"] = farneback_flow(*clip["image"])
            arrays["exact_flow"] = clip["exact_flow"][0]
            arrays["occlusion"] = clip["occlusion"][0].astype(np.uint8)
        return arrays | {"name": f"{name}/0"}  # each pair or clip is a sequence of its own


def _check_range(field: str, value: int, end: int) -> None:
    if not 0 <= value < end:
        raise InputError(f"config.data.{field}: found {value}, expected 0 to {end - 1}")
