"""S-Flow GAN on SYNTHIA's video sequences, the image stage at 512x256.

    python -m sflow_jax.main --config configs/synthia.py --workdir runs/synthia \
        --config.data.source=DIR

DIR holds folders `SYNTHIA-SEQS-NN-CONDITION` as the archives unpack, or is one of them. Their
frames of 1280x760 are resized to 512x256.

On two cores of an AMD EPYC (Zen 4), a step of these networks took 8.6 s, and XLA planned 2.5 GiB
(docs/performance.md), measured with Cityscapes' label map, not on this dataset. This is for a GPU
or TPU; time, memory and scores of a whole run have not been measured.
"""

from ml_collections import config_dict

from configs import default


def get_config() -> config_dict.ConfigDict:
    """The paper's networks on SYNTHIA."""
    config = default.get_config()
    config.data.dataset = "synthia"
    return config
