"""Video on Cityscapes at 512x256, from a trained run of configs/cityscapes.py.

    python -m sflow_jax.main --config configs/cityscapes_video.py --workdir runs/cityscapes_video \
        --config.data.source=DIR --config.init_from=runs/cityscapes

DIR holds `leftImg8bit_sequence` as the dataset's own archive unpacks, and in `label_sequence` the
label maps that a segmentation network predicted for its frames, since only one frame in thirty is
annotated: `label_sequence/SPLIT/CITY/CITY_SEQUENCE_FRAME_labelIds.png`.

On two cores of an AMD EPYC (Zen 4), a step of one pair took 18.6 s, and XLA planned 3.9 GiB
(docs/performance.md). This is for a GPU or TPU; time, memory and scores of a whole run have not
been measured.
"""

from ml_collections import config_dict

from configs import default


def get_config() -> config_dict.ConfigDict:
    """Stage C of the paper: 20 epochs at a tenth of the image stage's learning rate."""
    return default.video_stage(default.get_config())
