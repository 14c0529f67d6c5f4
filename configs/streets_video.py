"""Video on the embedded simulator at 128x64, from a trained run of configs/streets.py.

    python -m sflow_jax.main --config configs/streets_video.py --workdir runs/streets_video \
        --config.init_from=runs/streets

docs/results.md has what the flow losses did on former streets, with the package's segmenter as
perceptual network. With HED's, the 200 steps of `make demo` take two minutes on two cores; their
scores have not been measured.

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
