"""From a global generator to a local enhancer around it, as in pix2pixHD's training at 1024x512.

The enhancer's trunk at half the size continues the global generator, and its discriminators from
half the size on continue the former ones: what saw an image of 1024x512 whole sees the half of one
of 2048x1024. The enhancer itself, the last layer, and the discriminator of the full size begin
anew.
"""

import copy
from typing import Any

import ml_collections

Tree = dict[str, Any]


def continues_coarser(source: ml_collections.ConfigDict, config: ml_collections.ConfigDict) -> bool:
    """Whether `config` puts a local enhancer around the global generator of `source`."""
    return source.generator.kind == "global" and config.generator.kind == "local"


def as_coarse(
    config: ml_collections.ConfigDict, source: ml_collections.ConfigDict
) -> ml_collections.ConfigDict:
    """The config of the run that a local enhancer can start from: its networks at half the size.

    Args:
        config: of the enhancer.
        source: of that run, from which all is taken that an enhancer leaves open.
    """
    coarse = copy.deepcopy(config)
    coarse.generator.kind = "global"
    coarse.generator.width = 2 * config.generator.width
    for section, field in (
        ("generator", "num_local_blocks"),
        ("generator", "fixed_trunk"),
        ("discriminator", "num_scales"),
    ):
        coarse[section][field] = source[section][field]
    return coarse


def coarse_part(parts: Tree, source: ml_collections.ConfigDict) -> Tree:
    """What of an enhancer's parameters comes from the coarser run, under the names of there.

    Args:
        parts: `params`, `ema_params` and `discriminator_params` of the enhancer.
        source: the config of the coarser run.
    """
    found: Tree = {}
    for name in ("params", "ema_params"):
        generator = {"params": {"trunk": parts[name]["generator"]["params"]["trunk"]}}
        found[name] = {**parts[name], "generator": generator}
    scales = parts["discriminator_params"]["params"]
    found["discriminator_params"] = {
        "params": {
            f"scale_{k}": scales[f"scale_{k + 1}"]
            for k in range(source.discriminator.num_scales)
            if f"scale_{k + 1}" in scales
        }
    }
    return found


def with_coarse_part(parts: Tree, coarse: Tree) -> Tree:
    """The enhancer's parameters with what `coarse_part` names in place."""
    found: Tree = {}
    for name in ("params", "ema_params"):
        new, old = parts[name]["generator"]["params"], coarse[name]["generator"]["params"]
        found[name] = {**coarse[name], "generator": {"params": {**new, **old}}}
    scales = coarse["discriminator_params"]["params"]
    moved = {f"scale_{int(name.removeprefix('scale_')) + 1}": x for name, x in scales.items()}
    found["discriminator_params"] = {"params": {**parts["discriminator_params"]["params"], **moved}}
    return found
