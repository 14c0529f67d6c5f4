"""Trains S-Flow GAN, or another method, and continues a run that was interrupted.

    python -m sflow_jax.main --config configs/streets.py --workdir runs/streets
    python -m sflow_jax.main --config configs/folder.py --workdir runs/mine --config.data.source=DIR
    python -m sflow_jax.main --config configs/cityscapes.py --dry_run

--config names the experiment; --config.NAME=VALUE sets an option, such as --config.flow.loss=warp.
`sflow_jax/options.py` lists them all.
"""

from absl import flags

from sflow_jax import cli
from sflow_jax.errors import InputError
from sflow_jax.files import named_path


def main() -> None:
    """Trains, or describes, the run that the flags name."""
    options = flags.FLAGS
    if options.config is None:
        raise InputError("--config: missing; expected a config file such as configs/streets.py")
    if options.dry_run:
        from sflow_jax.training.dry_run import describe

        print(describe(options.config))
        return
    if options.workdir is None:
        raise InputError("--workdir: missing; expected a folder for checkpoints and pictures")
    from sflow_jax import compilation_cache
    from sflow_jax.training.loop import train

    workdir = named_path("--workdir", options.workdir)
    compilation_cache.use()
    train(options.config, workdir)
    print(f"pictures, metrics and checkpoints are in {workdir}")


def _define_flags() -> None:
    cli.define_config_flag()
    flags.DEFINE_string(
        "workdir",
        None,
        "Folder of the run; a run that it already holds is continued. Only --dry_run needs none.",
    )
    flags.DEFINE_bool(
        "dry_run",
        False,
        "Print networks, parameters, FLOPs, memory, speed and steps, and train nothing.",
    )
    cli.define_distributed_flags()


if __name__ == "__main__":
    _define_flags()
    cli.run(main)
