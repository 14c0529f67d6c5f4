"""Video on photographs: pairs of CamVid's frames, from a trained run of configs/camvid.py.

    python -m sflow_jax.main --config configs/camvid_video.py --config.data.source=DIR \
        --workdir runs/camvid_video --config.init_from=runs/camvid

DIR holds consecutive frames in the layout of the folder dataset (docs/data.md), such as CamVid's
sequence of 15 Hz. Scores are in docs/results.md; on one core of an AMD EPYC (Zen 4) a step takes
1.2 s.
"""

from ml_collections import config_dict

from configs import camvid, default


def get_config(size: str = "128x96") -> config_dict.ConfigDict:
    """The video stage.

    Args:
        size: of the pictures, that of the image run.
    """
    config = default.video_stage(camvid.get_config(size))
    config.flow.loss = "both"
    config.optimizer.learning_rate = 1e-4
    config.train.constant_epochs = 1.0
    config.train.epochs = 2.0
    return config
