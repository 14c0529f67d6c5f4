"""The datasets that can be prepared: to add one, write its builder and add an entry here."""

import dataclasses
import importlib
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ml_collections import config_dict

from sflow_jax.files import user_path

if TYPE_CHECKING:
    from sflow_jax.data.builder import ExampleBuilder

SMALLEST_SIDE = 16
"""Of the images, in pixels: DNED and VGG19 halve four times."""

LARGEST_SIDE = 16_384
"""Of the images, in pixels: a fourth of what PNG's decoders take, and more than any camera has."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """How a dataset is prepared.

    Attributes:
        builder: the subclass of `ExampleBuilder` that prepares it, as 'module:class'; its module
            is imported when the dataset is asked for.
        has_source: whether it is read from the files in `config.data.source`.
        arguments: further arguments of the builder, each with the field of `config.data` that it
            is taken from.
    """

    builder: str
    has_source: bool = True
    arguments: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def make_builder(
        self, data_config: config_dict.ConfigDict, data_dir: pathlib.Path
    ) -> "ExampleBuilder":
        """Makes the builder of the prepared dataset that a config asks for.

        Args:
            data_config: the `data` section of a config.
            data_dir: where prepared datasets are.

        Raises:
            InputError: the source has a fault, or an option is out of range.
        """
        fields = {name: name for name in ("height", "width", "frames")} | dict(self.arguments)
        arguments = {argument: data_config[field] for argument, field in fields.items()}
        if self.has_source:
            arguments["source"] = user_path(data_config.source).absolute()
        return self.builder_class()(**arguments, data_dir=data_dir)

    def builder_class(self) -> "type[ExampleBuilder]":
        """Imports the builder."""
        module, _, name = self.builder.partition(":")
        return getattr(importlib.import_module(module), name)


DATASETS: dict[str, Dataset] = {
    "streets": Dataset(
        "sflow_jax.data.streets:Streets",
        has_source=False,
        arguments={
            "num_train": "num_train",
            "num_validation": "num_validation",
            "num_test": "num_test",
            "seed": "streets_seed",
        },
    ),
    "cityscapes": Dataset("sflow_jax.data.cityscapes:Cityscapes"),
    "synthia": Dataset("sflow_jax.data.synthia:Synthia", arguments={"frame_step": "frame_step"}),
    "folder": Dataset("sflow_jax.data.folder:Folder", arguments={"frame_step": "frame_step"}),
}
