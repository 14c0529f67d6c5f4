"""Whether a run can be started or continued in a folder."""

import pathlib

import ml_collections

from sflow_jax import configuration
from sflow_jax.errors import InputError
from sflow_jax.runs.checkpoints import has_checkpoint
from sflow_jax.runs.record import RUN_FILE, RunRecord, check_was_trained


def check_workdir(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Checks that a folder holds no run, or one of this config that says how it was trained.

    Raises:
        InputError: it holds a run of another config, or one that was imported, or the files that
            belong to its checkpoints are missing, damaged or edited.
    """
    check_was_trained(workdir, "--workdir", "a new folder, or that of a run that was trained here")
    files = (configuration.CONFIG_FILE, RUN_FILE)
    absent = [name for name in files if not (workdir / name).exists()]
    if absent and has_checkpoint(workdir):
        raise InputError(
            f"{workdir}: found checkpoints without {' and '.join(absent)}, expected what training "
            "wrote beside them, or another --workdir"
        )
    if not absent:
        configuration.check_unedited(workdir, RunRecord.load(workdir).config)
    configuration.check_resumable(config, workdir)
