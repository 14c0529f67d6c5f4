"""pix2pix, with its authors' settings, on the data of one of S-Flow GAN's experiments.

    python -m sflow_jax.main --config configs/baselines/pix2pix.py:streets --workdir runs/pix2pix

After the colon: `cityscapes` (512x256, the default), `streets` (128x64) or `camvid` (128x96; both
photographs' datasets need --config.data.source=DIR). docs/baselines.md says where it differs from
the official code.
"""

import math

from ml_collections import config_dict

from configs.baselines import on_data

_MOST_HALVINGS = 8


def get_config(data: str = "cityscapes") -> config_dict.ConfigDict:
    """A run of pix2pix.

    Args:
        data: a key of `on_data.DATA`.
    """
    config = on_data.get_config(data)
    config.method = "pix2pix"
    sides = math.gcd(config.data.height, config.data.width)
    halvings = (sides & -sides).bit_length() - 1  # how often 2 divides both sides
    config.generator.num_downsamplings = min(halvings, _MOST_HALVINGS)
    config.loss.adversarial = "bce"
    config.loss.perceptual_weight = 0.0
    config.augmentation.zoom = 286 / 256 - 1
    config.optimizer.ema_decay = 0.0
    config.train.order = "discriminator_first"
    return config
