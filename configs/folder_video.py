"""Video on your own sequences, from a trained run of configs/folder.py.

    python -m sflow_jax.main --config configs/folder_video.py --workdir runs/mine_video \
        --config.data.source=DIR --config.init_from=runs/mine

DIR as for configs/folder.py; the frames of a SEQUENCE are consecutive, numbered at the end of their
names. Give the size that the image run was trained at if that is not 512x256.

At 512x256, on two cores of an AMD EPYC (Zen 4), a step of one pair took 18.6 s, and XLA planned
3.9 GiB (docs/performance.md), measured with Cityscapes' label map, not on this dataset. This is for
a GPU or TPU; time, memory and scores of a whole run have not been measured.
"""

from ml_collections import config_dict

from configs import default, folder


def get_config() -> config_dict.ConfigDict:
    """Stage C of the paper: 20 epochs at a tenth of the image stage's learning rate."""
    return default.video_stage(folder.get_config())
