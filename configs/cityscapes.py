"""S-Flow GAN on Cityscapes at 512x256, the image stage as the paper trains it.

    python -m sflow_jax.main --config configs/cityscapes.py --workdir runs/cityscapes \
        --config.data.source=DIR

DIR holds `leftImg8bit` and `gtFine` as the dataset's own archives unpack. VGG19's weights are
needed once: python -m sflow_jax.pretrained.weights get vgg19.

On two cores of an AMD EPYC (Zen 4), a step of these networks took 8.6 s, and XLA planned 2.5 GiB
(docs/performance.md). This is for a GPU or TPU; time, memory and scores of a whole run have not
been measured.

On a GPU or TPU add --config.train.compute_dtype=bfloat16: parameters and norms stay float32.
768x384 trains without another change: --config.data.width=768 --config.data.height=384.
"""

from ml_collections import config_dict

from configs import default


def get_config() -> config_dict.ConfigDict:
    """The defaults are the paper's Cityscapes experiment."""
    return default.get_config()
