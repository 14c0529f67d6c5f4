"""Your own data: label maps, real images and, if you have them, CG images and instances.

    python -m sflow_jax.main --config configs/folder.py --workdir runs/mine --config.data.source=DIR

DIR holds SPLIT/SEQUENCE/{image,label,cg,instance}/NAME.png and classes.json, as docs/your_data.md
describes them; photographs and CG frames may be JPEG and others.

At 512x256, on two cores of an AMD EPYC (Zen 4) a step of these networks took 8.6 s, and XLA planned
2.5 GiB (docs/performance.md), with Cityscapes' classes. This is for a GPU or TPU; time, memory and
scores of a whole run have not been measured.
"""

from ml_collections import config_dict

from configs import default


def get_config() -> config_dict.ConfigDict:
    """The paper's networks on a user's folder."""
    config = default.get_config()
    config.data.dataset = "folder"
    return config
