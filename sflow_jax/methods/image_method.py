"""A method that makes each image by itself, and how it is trained.

`training/step.py` plays the game of its generator against its discriminator, whose rules are the
functions below.
"""

import abc
from typing import Generic, TypeVar

import flax.linen as nn
import flax.struct
import jax

from sflow_jax.losses import DiscriminatorOutput
from sflow_jax.methods.base import Batch, Method, Params, Scalars

SceneT = TypeVar("SceneT")
GeneratedT = TypeVar("GeneratedT")


@flax.struct.dataclass
class Judged:
    """What the discriminators tell apart: D(condition, real) from D(condition, fake).

    Attributes:
        condition: what they see with either image, [N, H, W, C].
        real: images [N, H, W, 3] in [-1, 1].
        fake: generated images, likewise.
    """

    condition: jax.Array
    real: jax.Array
    fake: jax.Array


class ImageMethod(Method, Generic[SceneT, GeneratedT]):
    """See `Method`; frames of a clip, too, are pictures that know nothing of each other.

    Attributes:
        discriminator: applied to (condition, image); gives for every scale its features, the last
            of which is the score.
    """

    discriminator: nn.Module

    @property
    def discriminators(self) -> dict[str, nn.Module]:
        """The one, whose parameters have no name in a state."""
        return {"discriminator": self.discriminator}

    def init(self, key: jax.Array) -> tuple[Params, Params]:
        """See `Method`."""
        params, discriminator_params = super().init(key)
        return params, discriminator_params["discriminator"]

    @abc.abstractmethod
    def scene(self, batch: Batch, keys: jax.Array) -> SceneT:
        """Makes of stored examples what a step needs of them, changed at random.

        Args:
            batch: `batch_keys` of B examples.
            keys: a random key for each example, [B].
        """

    @abc.abstractmethod
    def generate(self, params: Params, scene: SceneT, step: jax.Array) -> GeneratedT:
        """Generates the images of a scene as in training.

        Args:
            params: of the generator's player.
            scene: from `scene`.
            step: optimization steps done, int32 scalar.
        """

    @abc.abstractmethod
    def judged(self, scene: SceneT, generated: GeneratedT) -> Judged:
        """Which images the discriminators judge, under which condition."""

    @abc.abstractmethod
    def terms(
        self,
        scene: SceneT,
        generated: GeneratedT,
        real_scores: DiscriminatorOutput,
        fake_scores: DiscriminatorOutput,
        frozen_params: Params,
    ) -> tuple[Scalars, Scalars]:
        """The generator's loss.

        Returns:
            Its weighted terms by name, whose sum is minimized, and what else is logged.
        """
