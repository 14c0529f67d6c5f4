"""A method that makes a frame from the frames that it made before, and how it is trained.

`training/clip_step.py` plays the game of its generator against its discriminators frame by frame,
by the functions below. What is made of a frame is data for the next one: no gradient flows back
through time.
"""

import abc
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import jax

from sflow_jax.losses import DiscriminatorOutput
from sflow_jax.methods.base import Batch, Method, Params, Scalars
from sflow_jax.methods.image_method import Judged

ClipT = TypeVar("ClipT")
MomentT = TypeVar("MomentT")
GeneratedT = TypeVar("GeneratedT")
Memory = Any


class ClipMethod(Method, Generic[ClipT, MomentT, GeneratedT]):
    """See `Method`; in use, `translate` takes a frame's `memory` and gives that of the next."""

    @property
    def remembers(self) -> bool:
        """See `Method`."""
        return True

    @abc.abstractmethod
    def clip(self, batch: Batch, keys: jax.Array) -> ClipT:
        """Makes of stored clips what a step needs of them, changed at random.

        Args:
            batch: `batch_keys` of B examples.
            keys: a random key for each example, [B].
        """

    @abc.abstractmethod
    def frames_to_make(self, step: int) -> tuple[int, int]:
        """The first frame that a step makes, and the one after the last."""

    @abc.abstractmethod
    def first_memory(self, clip: ClipT) -> Memory:
        """What is known before the first frame, arrays of a fixed shape."""

    @abc.abstractmethod
    def remember(self, memory: Memory, time: jax.Array, generated: GeneratedT) -> Memory:
        """What is known after a frame."""

    @abc.abstractmethod
    def moment(self, clip: ClipT, memory: Memory, time: jax.Array) -> MomentT:
        """All that the networks and the losses of one frame need.

        Args:
            clip: from `clip`.
            memory: what was made before; no gradient flows into it.
            time: the frame's number in the clip.
        """

    @abc.abstractmethod
    def generate(self, params: Params, moment: MomentT) -> GeneratedT:
        """Generates a frame.

        Args:
            params: of the generator's player.
            moment: from `moment`.
        """

    @abc.abstractmethod
    def judged(self, moment: MomentT, generated: GeneratedT) -> dict[str, Judged]:
        """What each of `discriminators` judges, under which condition."""

    @abc.abstractmethod
    def shares(self, moment: MomentT) -> dict[str, float | jax.Array]:
        """How much the loss of each discriminator counts at a moment, the same on all devices.

        One that counts 0, as it has not enough frames yet, does not learn.
        """

    @abc.abstractmethod
    def terms(
        self,
        moment: MomentT,
        generated: GeneratedT,
        real_scores: Mapping[str, DiscriminatorOutput],
        fake_scores: Mapping[str, DiscriminatorOutput],
        frozen_params: Params,
    ) -> tuple[Scalars, Scalars]:
        """The generator's loss at a moment.

        Returns:
            Its weighted terms by name, whose sum is minimized, and what else is logged.
        """

    @abc.abstractmethod
    def decays(self, discriminator: str) -> bool:
        """Whether a discriminator's learning rate follows that of the schedule."""
