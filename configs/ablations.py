"""S-Flow GAN without one of its parts, to see what the part is worth.

    python -m sflow_jax.main --config configs/ablations.py:streets/labels --workdir runs/labels

After the colon stand the experiment (`streets`, `camvid`, `cityscapes`, or one of their video
stages, such as `streets_video`, with --config.init_from=RUN) and what is changed, a key of
`ABLATIONS`.
"""

import importlib

from ml_collections import config_dict

EXPERIMENTS = (
    "streets",
    "camvid",
    "cityscapes",
    "streets_video",
    "camvid_video",
    "cityscapes_video",
)

ABLATIONS: dict[str, dict[str, object]] = {
    "labels": {"generator.edges": "none"},
    "laplacian": {"generator.edges": "laplacian"},
    "dned": {},
    "discriminators_1": {"discriminator.num_scales": 1},
    "discriminators_2": {"discriminator.num_scales": 2},
    "discriminators_3": {"discriminator.num_scales": 3},
    "no_flow": {"flow.loss": "none"},
    "farneback": {"flow.loss": "farneback"},
    "warp": {"flow.loss": "warp"},
    "both_flows": {"flow.loss": "both"},
}
"""What each changes. `labels` and `laplacian` train a DNED that the generator does not see."""


def get_config(choice: str = "streets/dned") -> config_dict.ConfigDict:
    """An experiment with a change.

    Args:
        choice: EXPERIMENT/ABLATION.
    """
    experiment, _, ablation = choice.partition("/")
    if experiment not in EXPERIMENTS or ablation not in ABLATIONS:
        raise ValueError(
            f"configs/ablations.py: found {choice!r}, expected EXPERIMENT/ABLATION, of "
            f"{', '.join(EXPERIMENTS)} and {', '.join(ABLATIONS)}"
        )
    config = importlib.import_module(f"configs.{experiment}").get_config()
    config.update_from_flattened_dict(ABLATIONS[ablation])
    return config
