"""Trains S-Flow GAN, or another method, and continues a run that was interrupted.

    python -m sflow_jax.main --config configs/streets.py --workdir runs/streets
    python -m sflow_jax.main --config configs/folder.py --workdir runs/mine --config.data.source=DIR
    python -m sflow_jax.main --config configs/cityscapes.py --dry_run

--config names the experiment; --config.NAME=VALUE sets an option, such as --config.flow.loss=warp.
`sflow_jax/options.py` lists them all.
"""

import pathlib

from absl import flags

from sflow_jax import cli
from sflow_jax.errors import InputError

_CONFIG = cli.define_config_flag()
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "Folder of the run; a run that it already holds is continued. Only --dry_run needs none.",
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run",
    False,
    "Print networks, parameters, FLOPs, memory, speed and steps, and train nothing.",
)


def main() -> None:
    """Trains, or describes, the run that the flags name."""
    if _CONFIG.value is None:
        raise InputError("--config: missing; expected a config file such as configs/streets.py")
    if _DRY_RUN.value:
        from sflow_jax.training.dry_run import describe

        print(describe(_CONFIG.value))
        return
    if _WORKDIR.value is None:
        raise InputError("--workdir: missing; expected a folder for checkpoints and pictures")
    from sflow_jax import compilation_cache
    from sflow_jax.training.loop import train

    workdir = pathlib.Path(_WORKDIR.value)
    compilation_cache.use()
    train(_CONFIG.value, workdir)
    print(f"pictures, metrics and checkpoints are in {workdir}")


if __name__ == "__main__":
    cli.run(main)
