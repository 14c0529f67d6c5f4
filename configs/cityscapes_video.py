"""Video on Cityscapes at 512x256, from a trained run of configs/cityscapes.py.

    python -m sflow_jax.main --config configs/cityscapes_video.py --workdir runs/cityscapes_video \
        --config.data.source=DIR --config.init_from=runs/cityscapes

DIR holds `leftImg8bit_sequence` as the dataset's own archive unpacks, and in `label_sequence` the
label maps that a segmentation network predicted for its frames, since only one frame in thirty is
annotated: `label_sequence/SPLIT/CITY/CITY_SEQUENCE_FRAME_labelIds.png`.

On two CPU cores (AMD EPYC, Zen 5) a step of one pair takes 18.6 s and 3.9 GiB of memory, so this is
for a GPU or TPU, where time, memory and the scores of a whole run are not measured yet.
"""

from ml_collections import config_dict

from configs import default


def get_config() -> config_dict.ConfigDict:
    """Stage C of the paper: 20 epochs at a tenth of the image stage's learning rate."""
    return default.video_stage(default.get_config())
