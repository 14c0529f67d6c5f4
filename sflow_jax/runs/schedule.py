"""What changes over a run: the stage of the edge map and the learning rate.

Pure functions of the step, so that a resumed run needs no state of its own for them.
"""

import dataclasses

import jax
import jax.numpy as jnp
import ml_collections
import optax

from sflow_jax.errors import InputError

_MOST_STEPS = 2**31 - 1  # more cannot be counted on a device


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The schedule of a run in optimization steps.

    Attributes:
        steps_per_epoch: steps in which every training example is seen once.
        laplacian_steps: stage A, Laplacian edges into the generator, while DNED is trained as well.
        ramp_steps: from stage A to stage B, the two edge maps mixed.
        constant_steps: steps at the full learning rate.
        decay_steps: end of the linear decay, where the learning rate is 0.
        num_steps: where the run ends.
    """

    steps_per_epoch: int
    laplacian_steps: int
    ramp_steps: int
    constant_steps: int
    decay_steps: int
    num_steps: int

    @classmethod
    def from_config(
        cls, train: ml_collections.ConfigDict, num_examples: int, global_batch_size: int
    ) -> "Schedule":
        """Converts the epochs of `config.train` for a dataset and a batch size over all devices.

        Raises:
            InputError: there are more steps than can be counted.
        """
        steps_per_epoch = max(1, num_examples // global_batch_size)

        def to_steps(epochs: float) -> int:
            return round(epochs * steps_per_epoch)

        decay_steps = to_steps(train.epochs)
        if decay_steps > _MOST_STEPS:
            raise InputError(
                f"config.train.epochs: found {train.epochs:,g}, {decay_steps:,} steps of these "
                f"data, expected at most {_MOST_STEPS:,}"
            )
        return cls(
            steps_per_epoch=steps_per_epoch,
            laplacian_steps=to_steps(train.laplacian_epochs),
            ramp_steps=to_steps(train.ramp_epochs),
            constant_steps=min(to_steps(train.constant_epochs), decay_steps),
            decay_steps=decay_steps,
            num_steps=min(decay_steps, train.max_steps) if train.max_steps else decay_steps,
        )

    def dned_share(self, step: int | jax.Array) -> jax.Array:
        """Share of DNED's edges in the generator's edge map: 0 in stage A, 1 in stage B."""
        if not self.ramp_steps:
            return jnp.asarray(step >= self.laplacian_steps, jnp.float32)
        ramp = (step - self.laplacian_steps) / self.ramp_steps
        return jnp.clip(ramp, 0.0, 1.0).astype(jnp.float32)

    def learning_rate(self, peak: float) -> optax.Schedule:
        """Constant at `peak`, then linear to 0."""
        decay = optax.linear_schedule(peak, 0.0, max(1, self.decay_steps - self.constant_steps))
        return optax.join_schedules([optax.constant_schedule(peak), decay], [self.constant_steps])
