"""Video on the embedded simulator at 128x64, from a trained run of configs/streets.py.

    python -m sflow_jax.main --config configs/streets_video.py --workdir runs/streets_video \
        --config.init_from=runs/streets

The networks are those of configs/streets.py; pairs of consecutive frames replace single ones and
the flow loss joins the image losses.
"""

from ml_collections import config_dict

from configs import streets


def get_config(variant: str = "demo") -> config_dict.ConfigDict:
    """The video stage of the demo.

    Args:
        variant: `demo`, or `tiny` for tests, from a run of `configs/streets.py:tiny`.
    """
    config = streets.get_config(variant)
    config.data.frames = 2
    # The image run has learnt its stages: DNED's edges from the first step.
    config.train.laplacian_epochs = 0.0
    config.train.ramp_epochs = 0.0
    config.optimizer.learning_rate = 1e-4
    if variant == "demo":
        config.data.num_train = 150
        config.data.num_validation = 10
        config.train.constant_epochs = 1.0
        config.train.epochs = 2.0
        config.log.images_every_steps = 100
        config.checkpoint.every_steps = 100
    return config
