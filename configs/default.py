"""Starting point of every experiment in this folder: the paper's defaults, at 512x256.

The options, each with its default, its choices and its meaning, are in `sflow_jax/options.py`.
An experiment changes what differs, and so does the command line: --config.flow.loss=warp.

Run an experiment, not this file: python -m sflow_jax.main --config configs/streets.py --workdir DIR
"""

from ml_collections import config_dict

from sflow_jax import configuration


def get_config() -> config_dict.ConfigDict:
    """Every option with its default; a field that is not among them is an error."""
    return configuration.default()


def video_stage(config: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """Makes the config of an image run that of the video stage which starts from it."""
    config.data.frames = 2
    config.optimizer.learning_rate = 2e-5
    # The image run has been through its stages: DNED's edges from the first step.
    config.train.laplacian_epochs = 0.0
    config.train.ramp_epochs = 0.0
    config.train.constant_epochs = 20.0
    config.train.epochs = 20.0
    return config
