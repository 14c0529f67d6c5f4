"""What a method of image synthesis is to training, sampling and evaluation.

How it is trained, `image_method.py` says for those that make each image by itself. A method's own
equations are in its own file.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from sflow_jax.data.labels import ClassTable
from sflow_jax.pretrained.perceptual import PerceptualNetwork
from sflow_jax.runs.schedule import Schedule

if TYPE_CHECKING:
    from sflow_jax.data.pipeline import Source

Params = Any
Batch = Mapping[str, jax.Array]
Scalars = dict[str, jax.Array]

LAPLACIAN = "Laplacian, no DNED"  # among `Method.edge_usages`

_INIT_SIZE = (64, 64)  # parameters do not depend on the size of the images


def map_spec(size: tuple[int, int], channels: int) -> jax.ShapeDtypeStruct:
    """One float32 map or image of (height, width), for `Method.example_inputs`."""
    return jax.ShapeDtypeStruct((1, *size, channels), jnp.float32)


def apply(network: nn.Module, params: Params, *inputs: jax.Array | None) -> Any:
    """What a network gives; `Module.apply` could also give variables that it has changed."""
    return network.apply(params, *inputs)


@dataclasses.dataclass(frozen=True)
class Usage:
    """One way to use a trained generator: a row of a score table.

    Attributes:
        controls: arguments of `Method.translate`.
        sees_edge_image: whether it is given the CG or real frame; otherwise an image of one color,
            which has no edges.
        find_edges: another edge detector, whose map is the control `edge_map`: uint8 RGB
            [B, H, W, 3] to float32 [B, H, W, 1] in [0, 1].
    """

    controls: Mapping[str, Any]
    sees_edge_image: bool = True
    find_edges: Callable[[np.ndarray], np.ndarray] | None = None


class Method(abc.ABC):
    """A generator with its conditions, its discriminators and its losses, without parameters.

    A frozen dataclass, so that its functions are pure. `params` are those of all networks that the
    generator's player trains, by name.

    Attributes:
        perceptual_network: the frozen network of the generator's loss, or None without one.
    """

    perceptual_network: PerceptualNetwork | None

    @classmethod
    @abc.abstractmethod
    def from_config(
        cls,
        config: ml_collections.ConfigDict,
        class_table: ClassTable,
        schedule: Schedule,
        perceptual_network: PerceptualNetwork | None = None,
        palettes: np.ndarray | None = None,
    ) -> "Method":
        """Builds the networks that a config describes.

        Args:
            config: the whole config.
            class_table: of the dataset: the channels of one-hot label maps, and colors.
            schedule: the run in steps.
            perceptual_network: the frozen network of the generator's loss, for training.
            palettes: of a run whose method wants them, [K, C, 3]; see `runs.palettes`.
        """

    @classmethod
    def why_impossible(cls, config: ml_collections.ConfigDict) -> str:
        """Which option this method cannot bear, and why; empty where there is none."""
        return ""

    @classmethod
    def wants_palettes(cls, config: ml_collections.ConfigDict) -> bool:
        """Whether a run of this config collects the colors of its training images."""
        return False

    @property
    @abc.abstractmethod
    def networks(self) -> dict[str, nn.Module]:
        """The networks of the generator's player, by their names in `params`."""

    @property
    @abc.abstractmethod
    def discriminators(self) -> dict[str, nn.Module]:
        """The networks of the other player, by name."""

    @property
    def remembers(self) -> bool:
        """Whether it makes a frame from those that it made before; see `ClipMethod`."""
        return False

    @property
    def sees_edges(self) -> bool:
        """Whether edges of a CG or real frame guide the generator, not labels alone."""
        return False

    @property
    def frozen_params(self) -> Params:
        """Parameters of networks that are not trained, which `terms` needs; empty without any."""
        return self.perceptual_network.params if self.perceptual_network else {}

    @property
    @abc.abstractmethod
    def batch_keys(self) -> tuple[str, ...]:
        """What `scene` reads of a stored example; see `data.example.Schema`."""

    @property
    def input_keys(self) -> tuple[str, ...]:
        """What `translate` needs of a frame by these names, besides label map and edge image."""
        return ()

    @abc.abstractmethod
    def example_inputs(self, size: tuple[int, int]) -> dict[str, tuple[jax.ShapeDtypeStruct, ...]]:
        """The inputs of every network of both players for one image of (height, width)."""

    def perceptual_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """What the perceptual network sees of images of (height, width): all by default."""
        return size

    def init(self, key: jax.Array) -> tuple[Params, Params]:
        """Draws the parameters of the generator's player and those of the discriminators."""
        modules = self.networks | self.discriminators
        inputs = self.example_inputs(_INIT_SIZE)
        params = {}
        for name, init_key in zip(modules, jax.random.split(key, len(modules)), strict=True):
            zeros = [jnp.zeros(x.shape, x.dtype) for x in inputs[name]]
            params[name] = modules[name].init(init_key, *zeros)
        return params, {name: params.pop(name) for name in self.discriminators}

    @classmethod
    def published_params(cls, config: ml_collections.ConfigDict) -> dict[str, Params]:
        """Networks of the generator's player that start from published weights, by name.

        Raises:
            InputError: weights are absent; the message has the command that gets them.
        """
        return {}

    @abc.abstractmethod
    def controls(self, step: int) -> dict[str, Any]:
        """The arguments of `translate` with which a generator of this step works as trained."""

    @abc.abstractmethod
    def translate(
        self,
        params: Params,
        label: jax.Array,
        edge_image: jax.Array,
        *controls: Any,
        **named_controls: Any,
    ) -> dict[str, jax.Array]:
        """Translates frames as in use.

        Args:
            params: of the generator's player.
            label: uint8 [B, H, W, 1], class ids.
            edge_image: uint8 RGB [B, H, W, 3], the CG or real frame that guides the generator.
            *controls: what a user may vary; the method's own.
            **named_controls: likewise, by name; and what `input_keys` names, [B, H, W, C].

        Returns:
            `image`, float32 [B, H, W, 3] in [-1, 1]; `picture`, the same in uint8 (a quarter of
            the bytes to fetch: what sampling writes and evaluation scores); and the method's own.
        """

    def recalled(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """What `translate` is to be given with the next frames of the same clips.

        Args:
            outputs: of `translate`.
        """
        return {"memory": outputs["memory"]} if self.remembers else {}

    @abc.abstractmethod
    def maps(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        """What a preview shows between a frame and its translation.

        Args:
            outputs: of `translate`.

        Returns:
            Maps [B, H, W, 1] in [0, 1] by their captions.
        """

    def styles(self, names: Sequence[str], variant: int = 0) -> dict[str, Any]:
        """Controls that are to differ from picture to picture, but not from frame to frame.

        Args:
            names: what each picture of a batch belongs to: an example, or a clip for all frames of
                which the controls are to be the same. Equal names get equal controls.
            variant: another number gives other controls.

        Returns:
            Arguments of `translate` with a leading axis of B; none by default.
        """
        return {}

    def learn_use(self, params: Params, source: "Source") -> Any:
        """What use needs to know of training images, as networks that are trained see them.

        Args:
            params: averaged, of the generator's player.
            source: the examples of the training split.

        Returns:
            A tuple of arrays for `with_learned`; None where nothing is needed.
        """
        return None

    @property
    def learns_use(self) -> bool:
        """Whether `learn_use` gives anything."""
        return False

    def with_learned(self, learned: Sequence[np.ndarray]) -> "Method":
        """The same method, in use with what `learn_use` gave."""
        return self

    def usages(self, controls: Mapping[str, Any]) -> dict[str, Usage]:
        """What an evaluation compares, by the names of rows, the model's own first.

        Args:
            controls: from `controls`.
        """
        return {"generated": Usage(controls)}

    def edge_usages(self, controls: Mapping[str, Any]) -> dict[str, Usage]:
        """Other edges that the generator can be given: the method's own, other detectors', none.

        Args:
            controls: from `controls`.

        Returns:
            Usages by the names of rows, among them `LAPLACIAN`, with which the edges of real
            frames are found too; empty where the generator sees no edges.
        """
        return {}

    def variants(self, num_variants: int, seed: int | None) -> list[dict[str, Any]]:
        """Arguments of `translate` that make versions of one scene, the same for all frames.

        Args:
            num_variants: how many; more of them do not change the first ones.
            seed: of the draws; None for the one version that is not drawn.
        """
        return [{}] * num_variants

    def why_no_variants(self, controls: Mapping[str, Any]) -> str:
        """Why versions of a scene would not differ; empty where they do."""
        return "this method makes one version of each frame"

    def notes(self, controls: Mapping[str, Any]) -> list[str]:
        """What a reader of scores has to know about a generator with these controls."""
        return []

    def describe_stages(self) -> list[str]:
        """The stages of a run, a line each."""
        return []

    @classmethod
    def options_of_networks(cls, config: ml_collections.ConfigDict) -> tuple[str, ...]:
        """Options, or whole sections of them, that decide what the networks mean.

        A run that starts from another one has to share them with it.
        """
        return ("generator", "discriminator")

    @classmethod
    def why_not_ready(
        cls, config: ml_collections.ConfigDict, source: Schedule, source_step: int
    ) -> str:
        """Why a run of `config` cannot start from the networks of another; empty where it can.

        Args:
            config: of the new run.
            source: the schedule of the run that it would start from.
            source_step: of its newest checkpoint.
        """
        return ""
