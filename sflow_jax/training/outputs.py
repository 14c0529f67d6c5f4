"""What a run shows and keeps after its steps: losses, pictures, scores and checkpoints."""

import contextlib
import pathlib
from collections.abc import Callable, Sequence

import tqdm

from sflow_jax import sharding
from sflow_jax.methods.base import Scalars
from sflow_jax.runs.checkpoints import Checkpoints
from sflow_jax.training.metric_log import MetricLog
from sflow_jax.training.monitoring import FiniteGuard, ImageRate
from sflow_jax.training.preview import Preview
from sflow_jax.training.set_up import Run
from sflow_jax.training.state import TrainState


class Outputs(contextlib.ExitStack):
    """Follows the steps of a run; a context manager. Nothing that is not finite is written."""

    def __init__(
        self,
        run: Run,
        workdir: pathlib.Path,
        checkpoints: Checkpoints,
        first_step: int,
        require_folder: Callable[[], None],
    ) -> None:
        """Opens the log and the progress bar.

        Args:
            run: whose outputs they are.
            workdir: its folder.
            checkpoints: in that folder.
            first_step: how many steps are done.
            require_folder: fails where the folder is no longer this process's.
        """
        super().__init__()
        self._run, self._checkpoints, self._require_folder = run, checkpoints, require_folder
        self._is_silent = not sharding.is_first_host()
        self._log = self.enter_context(MetricLog(workdir, first_step))
        self._preview = Preview(run.dataset, run.method, run.config)
        self._guard, self._rate = FiniteGuard(), ImageRate()
        self._bar = self.enter_context(
            tqdm.tqdm(
                total=run.schedule.num_steps,
                initial=first_step,
                unit="step",
                desc="training",
                disable=self._is_silent,
            )
        )

    def follow(self, step: int, metrics: Scalars, names: Sequence[str]) -> None:
        """Takes the metrics of a step and the names of its examples, without waiting for it.

        Raises:
            TrainingError: a loss of the step before is not finite.
        """
        self._guard.follow(step, metrics, names)
        self._rate.count(self._run.images_made(step - 1))
        self._bar.update()

    def write(self, step: int, state: TrainState, is_stopped: bool) -> None:
        """Writes what is due after a step; a checkpoint too where the run is stopped.

        Raises:
            TrainingError: a loss is not finite, or the folder is gone.
        """
        options, is_last = self._run.config.log, step == self._run.schedule.num_steps
        if step % options.every_steps == 0 or is_last:
            self._write_losses(step)
        if (step % options.images_every_steps == 0 or is_last) and not self._is_silent:
            self._guard.check()
            for name, picture in self._preview.draw(state).items():
                self._log.write_picture(step, name, picture)
        # Before the checkpoint: a run that is killed in between evaluates this step again.
        validation = self._run.validation
        if validation and validation.is_due(step):
            self._guard.check()
            self._log.write_scalars(step, validation.score(state))
            self._rate.restart()
        if self._checkpoints.is_due(step) or is_last or is_stopped:
            self._guard.check()
            self._require_folder()
            self._checkpoints.save(step, state)

    def _write_losses(self, step: int) -> None:
        scalars = self._guard.check()
        self._require_folder()
        self._log.write_scalars(step, scalars | self._rate.measure())
        self._bar.set_postfix(l1=f"{scalars['l1']:.3f}", g=f"{scalars['generator/total']:.2f}")
