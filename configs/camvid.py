"""Photographs of driving on a CPU: CamVid at 128x96, to translate a simulator's scenes.

    python -m sflow_jax.pretrained.weights get hed
    python -m sflow_jax.main --config configs/camvid.py --workdir runs/camvid \
        --config.data.source=DIR

DIR holds CamVid in the layout of the folder dataset (docs/data.md): train, validation and test with
`image`, `label` and classes.json. `--config configs/camvid.py:256x192` trains at twice the size,
`:paper` by the paper's method.
docs/results.md says what its translations of `streets` are worth as training data.

On one core of an AMD EPYC (Zen 4): half a second per step, 26 minutes for 2,936 steps.
"""

from ml_collections import config_dict

from configs import streets

PAPER = "paper"
SIZES = {"128x96": (128, 96), "256x192": (256, 192), PAPER: (128, 96)}


def get_config(size: str = "128x96") -> config_dict.ConfigDict:
    """A run on 367 photographs.

    Args:
        size: of the pictures, a key of `SIZES`; `paper` is the paper's method at 128x96.
    """
    if size not in SIZES:
        expected = " or ".join(SIZES)
        raise ValueError(f"configs/camvid.py: found size {size!r}, expected {expected}")
    config = streets.get_config()
    config.data.dataset = "folder"
    config.data.width, config.data.height = SIZES[size]
    # Shades of photographs would teach the generator to copy the flat ones of CG frames.
    config.dned.input = "edges"
    # Photographs have no CG frames.
    config.augmentation.cg_edges = 0.0
    config.augmentation.zoom = 0.5  # the same streets again and again, without it
    config.loss.perceptual_weight = 5.0
    config.loss.perceptual_window = 1.0
    config.optimizer.ema_decay = 0.998
    config.train.constant_epochs = 5.0
    config.train.epochs = 8.0
    config.log.images_every_steps = 500
    config.checkpoint.every_steps = 500
    config.eval.every_steps = 0  # no segmenter comes with the package
    return streets.as_in_the_paper(config) if size == PAPER else config
