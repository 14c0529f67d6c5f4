"""Video on the embedded simulator at 128x64, from a trained run of configs/streets.py.

    python -m sflow_jax.main --config configs/streets_video.py --workdir runs/streets_video \
        --config.init_from=runs/streets

On two cores of an AMD EPYC (Zen 5): half a second per step of one pair, two minutes for 200 steps.
From image runs of 1,000 steps, expect the warping error to fall from 4.0e-3 to 3.7e-3 and flicker
from 3.8 to 3.6 %, at a mean IoU of 38 %; docs/results.md has the table. Memory is not measured yet.

The networks are those of configs/streets.py; pairs of consecutive frames replace single ones and
the flow loss joins the image losses.
"""

from ml_collections import config_dict

from configs import default, streets


def get_config(variant: str = "demo") -> config_dict.ConfigDict:
    """The video stage of the demo.

    Args:
        variant: `demo`, `offline` or `tiny`, that of the run of `configs/streets.py`.
    """
    config = default.video_stage(streets.get_config(variant))
    config.flow.loss = "both"  # the steadiest in the table of docs/results.md
    config.optimizer.learning_rate = 1e-4  # minutes instead of days
    config.train.constant_epochs = 1.0
    config.train.epochs = 2.0
    if variant != "tiny":
        config.data.num_train = 100
        config.data.num_validation = 10
        config.log.images_every_steps = 100
        config.checkpoint.every_steps = 100
    return config
