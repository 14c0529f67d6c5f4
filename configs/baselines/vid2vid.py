"""vid2vid, with its authors' settings for one scale, on the data of S-Flow GAN's experiments.

    python -m sflow_jax.main --config configs/baselines/vid2vid.py:streets --workdir runs/vid2vid

After the colon: `cityscapes` (256x128, the default), `streets` (128x64) or `camvid` (128x96); both
photographs' datasets, whose sequences have no instances, need --config.data.source=DIR.
Of these the small ones have narrow networks and the perceptual network of S-Flow GAN's experiment.
docs/baselines.md says where it differs from the official code.
"""

from ml_collections import config_dict

from configs.baselines import on_data


def get_config(data: str = "cityscapes") -> config_dict.ConfigDict:
    """A run of vid2vid on clips.

    Args:
        data: a key of `on_data.DATA`.
    """
    config = on_data.get_config(data)
    config.method = "vid2vid"
    config.init_from = "none"
    config.data.frames = 8
    config.vid2vid.boundaries = data == "streets"
    config.generator.width, config.generator.num_downsamplings = 128, 2
    config.discriminator.num_scales = 1
    config.loss.feature_weighting = "pix2pixhd"
    config.loss.perceptual_input = "raw"
    config.optimizer.ema_decay = 0.0
    config.train.epochs, config.train.constant_epochs = 20.0, 10.0
    if data == "cityscapes":
        config.data.width, config.data.height, config.data.frames = 256, 128, 30
    else:
        ours = on_data.DATA[data].get_config()
        config.generator.width, config.generator.num_blocks = 32, 6
        config.discriminator.width = ours.discriminator.width
        config.loss.perceptual_network = ours.loss.perceptual_network
        config.loss.perceptual_weighting = ours.loss.perceptual_weighting
        config.loss.perceptual_weight = ours.loss.perceptual_weight
    if data == "streets":
        config.data.num_train, config.data.num_validation, config.data.num_test = 100, 10, 20
        config.eval.every_steps = 0  # a second per frame of 80 would be half of the time
    return config
