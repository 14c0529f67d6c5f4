"""Video on SYNTHIA's sequences at 512x256, from a trained run of configs/synthia.py.

    python -m sflow_jax.main --config configs/synthia_video.py --workdir runs/synthia_video \
        --config.data.source=DIR --config.init_from=runs/synthia

Training data as for configs/synthia.py, in pairs of consecutive frames of one camera.

On two cores of an AMD EPYC (Zen 4), a step of one pair took 18.6 s, and XLA planned 3.9 GiB
(docs/performance.md), measured with Cityscapes' label map, not on this dataset. This is for a GPU
or TPU; time, memory and scores of a whole run have not been measured.
"""

from ml_collections import config_dict

from configs import default, synthia


def get_config() -> config_dict.ConfigDict:
    """Stage C of the paper: 20 epochs at a tenth of the image stage's learning rate."""
    return default.video_stage(synthia.get_config())
