"""Checks configs and keeps the config of a run beside its results."""

import json
import pathlib
from collections.abc import Callable

from ml_collections import config_dict

from sflow_jax import losses
from sflow_jax.errors import InputError
from sflow_jax.files import write_whole

CONFIG_FILE = "config.json"
CLASSES_FILE = "classes.json"

_CHOICES = {
    "data.dataset": ("streets", "cityscapes", "synthia", "folder"),
    "data.frames": (1, 2),
    "dned.input": ("edges", "gray", "rgb"),
    "generator.kind": ("global", "local"),
    "generator.edges": ("dned", "laplacian", "none"),
    "flow.loss": ("farneback", "warp", "both", "none"),
    "flow.mask": ("warp", "both", "none"),
    "loss.adversarial": losses.ADVERSARIAL_FORMS,
    "loss.feature_weighting": losses.FEATURE_WEIGHTINGS,
    "loss.perceptual_network": ("vgg19", "streets"),
    "loss.perceptual_weights": tuple(losses.PERCEPTUAL_WEIGHTS),
    "loss.perceptual_input": ("imagenet", "raw"),
    "train.compute_dtype": ("float32", "bfloat16"),
}
_AT_LEAST_ONE = (
    "data.num_train",
    "dned.width",
    "generator.width",
    "generator.num_downsamplings",
    "discriminator.width",
    "discriminator.num_layers",
    "train.batch_size",
    "log.every_steps",
    "log.images_every_steps",
    "log.num_images",
    "eval.num_examples",
    "checkpoint.every_steps",
    "checkpoint.keep",
)
_NOT_NEGATIVE = (
    "seed",
    "data.worker_count",
    "generator.num_blocks",
    "generator.num_local_blocks",
    "dned.threshold_jitter",
    "edges.threshold",
    "flow.weight",
    "flow.warp_weight",
    "loss.feature_matching",
    "loss.perceptual",
    "loss.dned",
    "optimizer.learning_rate",
    "train.zoom",
    "train.laplacian_epochs",
    "train.ramp_epochs",
    "train.constant_epochs",
    "train.max_steps",
    "eval.every_steps",
)
_SHARES = ("dned.dropout", "dned.blur", "optimizer.ema_decay", "edges.quantile")

SMALLEST_SIDE = 16
"""Of the images, in pixels: DNED and VGG19 halve four times."""

# A run may be resumed with other values of these; anything else would make it another run.
_MAY_CHANGE = (
    "data.source",
    "data.data_dir",
    "data.worker_count",
    "generator.remat",
    "train.max_steps",
)
_SECTIONS_THAT_MAY_CHANGE = ("log", "eval", "checkpoint")


def check(config: config_dict.ConfigDict) -> None:
    """Checks the values of a config.

    Raises:
        InputError: names the field, what was found and what was expected.
    """
    values = _flatten(config)
    for field, choices in _CHOICES.items():
        _expect(values, field, values[field] in choices, "one of " + ", ".join(map(str, choices)))
    for field in _AT_LEAST_ONE:
        _expect(values, field, values[field] >= 1, "at least 1")
    for field in _NOT_NEGATIVE:
        _expect(values, field, values[field] >= 0, "0 or more")
    for field in _SHARES:
        in_range = values[field] is None or 0 <= values[field] <= 1
        _expect(values, field, in_range, "between 0 and 1")
    for field in ("optimizer.beta1", "optimizer.beta2"):
        _expect(values, field, 0 <= values[field] < 1, "0 or more and less than 1")
    for field in ("data.height", "data.width"):
        fits = values[field] == 0 or values[field] >= SMALLEST_SIDE
        _expect(values, field, fits, f"at least {SMALLEST_SIDE} pixels, or 0 for the files' own")
    _expect(
        values,
        "init_from",
        values["data.frames"] == 1 or values["init_from"],
        "the --workdir of a trained image run, or none to start from random networks",
    )
    _expect(values, "train.epochs", values["train.epochs"] > 0, "more than 0")
    scales = values["discriminator.num_scales"]
    _expect(values, "discriminator.num_scales", 1 <= scales <= 3, "1, 2 or 3")
    weights = values["loss.side_weights"]
    valid = len(weights) == 6 and min(weights) >= 0 and sum(weights) > 0
    _expect(values, "loss.side_weights", valid, "six numbers of 0 or more, not all 0")


def save(config: config_dict.ConfigDict, workdir: pathlib.Path) -> None:
    """Writes the config of a run to `workdir/config.json`."""
    write_whole(workdir / CONFIG_FILE, json.dumps(config.to_dict(), indent=2) + "\n")


def load(workdir: pathlib.Path) -> config_dict.ConfigDict:
    """Reads the config of the run in `workdir`.

    Raises:
        InputError: there is no run, or its config is damaged.
    """
    path = workdir / CONFIG_FILE
    if not path.is_file():
        raise InputError(f"{path}: not found; expected the working directory of a training run")
    try:
        return config_dict.ConfigDict(json.loads(path.read_text())).lock()
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}; expected the JSON that training wrote") from error


def check_resumable(config: config_dict.ConfigDict, workdir: pathlib.Path) -> None:
    """Checks that the run in `workdir`, if there is one, was started with this config.

    Raises:
        InputError: names every field that differs and makes it another run.
    """
    if not (workdir / CONFIG_FILE).exists():
        return
    found = differences(
        load(workdir),
        config,
        lambda field: (
            field not in _MAY_CHANGE and field.partition(".")[0] not in _SECTIONS_THAT_MAY_CHANGE
        ),
    )
    if found:
        raise InputError(
            f"{workdir}: holds a run of another config ({'; '.join(found)}); "
            "use another --workdir or the former values"
        )


def differences(
    before: config_dict.ConfigDict,
    now: config_dict.ConfigDict,
    is_compared: Callable[[str], bool],
) -> list[str]:
    """Describes the fields, of those that are compared, that differ between two configs."""
    before, now = _flatten(before), _flatten(now)
    return [
        f"{field} is {now.get(field)!r} and was {before.get(field)!r}"
        for field in sorted(before.keys() | now.keys())
        if is_compared(field) and _plain(before.get(field)) != _plain(now.get(field))
    ]


def _flatten(config: config_dict.ConfigDict) -> dict[str, object]:
    values = {}
    for section, options in config.to_dict().items():
        if isinstance(options, dict):
            values |= {f"{section}.{field}": value for field, value in options.items()}
        else:
            values[section] = options
    return values


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value  # JSON knows no tuples


def _expect(values: dict, field: str, holds: bool, expected: str) -> None:
    if not holds:
        raise InputError(f"config.{field}: found {values[field]!r}, expected {expected}")
