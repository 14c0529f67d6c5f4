"""pix2pixHD, with its authors' settings, on the data of one of S-Flow GAN's experiments.

    python -m sflow_jax.main --config configs/baselines/pix2pixhd.py:streets --workdir runs/hd

After the colon: `cityscapes` (512x256, the default), `streets` (128x64) or `camvid` (128x96, which
has no instances; both photographs' datasets need --config.data.source=DIR). Of these the small ones
have narrow networks and the perceptual network of S-Flow GAN's experiment. docs/baselines.md says
where it differs from the official code.
"""

from ml_collections import config_dict

from configs.baselines import on_data


def get_config(data: str = "cityscapes") -> config_dict.ConfigDict:
    """A run of pix2pixHD's global generator.

    Args:
        data: a key of `on_data.DATA`.
    """
    config = on_data.get_config(data)
    config.method = "pix2pixhd"
    config.pix2pixhd.boundaries = data != "camvid"
    config.generator.num_downsamplings = 4
    config.discriminator.num_scales = 2
    config.loss.feature_weighting = "pix2pixhd"
    config.loss.perceptual_input = "raw"
    config.optimizer.ema_decay = 0.0
    if data != "cityscapes":
        ours = on_data.DATA[data].get_config()
        config.generator.width, config.generator.num_blocks = 32, 6
        config.generator.num_downsamplings = ours.generator.num_downsamplings
        config.discriminator.width = ours.discriminator.width
        config.loss.perceptual_network = ours.loss.perceptual_network
        config.loss.perceptual_weighting = ours.loss.perceptual_weighting
        config.loss.perceptual_weight = ours.loss.perceptual_weight
    return config
