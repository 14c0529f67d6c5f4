"""The data that all methods are compared on: those of S-Flow GAN's own experiments."""

from ml_collections import config_dict

from configs import camvid, cityscapes, default, streets

DATA = {"cityscapes": cityscapes, "streets": streets, "camvid": camvid}
_SECTIONS = ("data", "log", "eval", "checkpoint")


def get_config(data: str) -> config_dict.ConfigDict:
    """Every option with its default, but for the data and what a run writes on its way.

    Args:
        data: a key of `DATA`.
    """
    if data not in DATA:
        raise ValueError(f"configs/baselines: found data {data!r}, expected {', '.join(DATA)}")
    experiment, config = DATA[data].get_config(), default.get_config()
    for section in _SECTIONS:
        config[section] = experiment[section]
    config.train.epochs = experiment.train.epochs
    config.train.constant_epochs = experiment.train.constant_epochs
    return config
