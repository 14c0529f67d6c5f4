"""The embedded driving simulator at 128x64: images in minutes, without a download.

    python -m sflow_jax.main --config configs/streets.py --workdir runs/streets

On two cores of an AMD EPYC (Zen 5): half a minute to render the dataset, five minutes for 2,000
steps, 2.2 GiB of memory. Expect a mean IoU of the generated test scenes of 39 to 42 %, by the
shipped segmenter that has 47 % on the real ones (python -m sflow_jax.evaluate --workdir ...).

The networks are narrow so that two CPU cores can bear them; the perceptual loss uses the features
of a small segmenter that ships with the package.
"""

from ml_collections import config_dict

from configs import default


def get_config(variant: str = "demo") -> config_dict.ConfigDict:
    """A few minutes of training on two CPU cores.

    Args:
        variant: `demo`, or `tiny` (`--config configs/streets.py:tiny`) for tests: seconds.
    """
    if variant == "tiny":
        return get_test_config()
    if variant != "demo":
        raise ValueError(f"configs/streets.py: found variant {variant!r}, expected demo or tiny")
    config = default.get_config()
    config.data.dataset = "streets"
    config.data.height = 64
    config.data.width = 128

    # At this size most of a street is fine detail: a fixed threshold would mark a third of it.
    config.edges.quantile = 0.85

    config.dned.width = 8
    config.generator.width = 32
    # Two halvings: at 128x64, three leave 16x8 pixels, from which detail takes epochs to return.
    config.generator.num_downsamplings = 2
    config.generator.num_blocks = 6
    config.discriminator.width = 32
    # The segmenter's features are smaller than VGG19's, and its fine slices matter as much.
    config.loss.perceptual_network = "streets"
    config.loss.perceptual_weighting = "uniform"
    config.loss.perceptual_weight = 40.0
    config.optimizer.learning_rate = 5e-4  # minutes instead of days

    config.train.laplacian_epochs = 1.0
    config.train.ramp_epochs = 0.25
    config.train.constant_epochs = 3.0
    config.train.epochs = 5.0
    config.log.every_steps = 25
    config.log.images_every_steps = 200
    config.checkpoint.every_steps = 200
    config.eval.every_steps = 200  # a second each, and 4 for the first
    config.optimizer.ema_decay = 0.99
    return config


def get_test_config() -> config_dict.ConfigDict:
    """The same run with tiny networks and few frames, for tests."""
    config = get_config()
    config.data.num_train = 8
    config.data.num_validation = 2
    config.data.num_test = 2
    config.dned.width = 2
    config.generator.width = 4
    config.generator.num_blocks = 1
    config.discriminator.width = 4
    config.train.constant_epochs = 1.5
    config.train.epochs = 2.5
    config.log.every_steps = 2
    config.log.images_every_steps = 4
    config.log.num_images = 2
    config.checkpoint.every_steps = 2
    config.eval.every_steps = 0
    return config
