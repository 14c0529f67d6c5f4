"""The config of a run: made of the options, checked, and kept in the run's folder.

The options themselves are in `options.py`.
"""

import difflib
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ml_collections import config_dict

from sflow_jax import files
from sflow_jax.errors import InputError, one_line
from sflow_jax.methods import method_class
from sflow_jax.options import OPTIONS, RENAMED, RENAMED_VALUES

CONFIG_FILE = "config.json"


def default() -> config_dict.ConfigDict:
    """A config of all options with their defaults, locked: it takes no other fields."""
    config = config_dict.ConfigDict()
    for name, option in OPTIONS.items():
        value = config_dict.placeholder(option.value_type) if option.value_type else option.default
        section, _, field = name.rpartition(".")
        if section and section not in config:
            config[section] = config_dict.ConfigDict()
        (config[section] if section else config)[field] = value
    return config.lock()


def check(config: config_dict.ConfigDict) -> None:
    """Checks the values of a config.

    Raises:
        InputError: names the field, what was found and what was expected.
    """
    values = _flatten(config.to_dict())
    check_section(config)
    if reason := method_class(config).why_impossible(config):
        raise InputError(reason)
    if values["data.frames"] > 1 and not values["init_from"]:
        expected = "the --workdir of a trained image run, or none to start from random networks"
        raise _wrong_value("init_from", values["init_from"], expected)
    if values["generator.fixed_trunk"]:
        if values["generator.kind"] != "local":
            raise _wrong_value("generator.fixed_trunk", True, "False without a local enhancer")
        if values["init_from"] in ("", "none"):
            expected = "False, or config.init_from: a random trunk is worth nothing"
            raise _wrong_value("generator.fixed_trunk", True, expected)
    if values["dned.init"] == "hed":
        for name, choices in (("dned.width", [64]), ("dned.input", ["gray", "rgb"])):
            if values[name] not in choices:
                expected = f"{' or '.join(map(str, choices))}, as config.dned.init is 'hed'"
                raise _wrong_value(name, values[name], expected)
    elif values["dned.frozen"] and values["init_from"] in ("", "none"):
        raise _wrong_value("dned.frozen", True, "False: a random DNED draws no edges")


def check_section(config: config_dict.ConfigDict, section: str = "") -> None:
    """Checks each value by its own rule.

    Args:
        config: the whole config, or one section of it.
        section: the name of that section, such as 'data'.

    Raises:
        InputError: names the field, what was found and what was expected.
    """
    values = _flatten({section: config.to_dict()} if section else config.to_dict())
    for name in OPTIONS:
        if not section or name.startswith(f"{section}."):
            if name not in values:
                raise InputError(f"config: found no {name}, expected all of configs/default.py")
            check_option(name, values[name])


def check_option(name: str, value: object) -> None:
    """Checks the value of one option.

    Raises:
        InputError: names the field, what was found and what was expected.
    """
    rule = OPTIONS[name].rule
    if not rule.holds(value):
        raise _wrong_value(name, value, rule.expected)


def save(config: config_dict.ConfigDict, workdir: pathlib.Path) -> None:
    """Writes the config of a run to `workdir/config.json`.

    Raises:
        OSError: the file cannot be written.
    """
    files.write_json(workdir / CONFIG_FILE, config.to_dict())


def load_config(workdir: pathlib.Path) -> config_dict.ConfigDict:
    """Reads the config of the run in `workdir`, which may be older than today's options.

    Options that were renamed have their values of then, and options that the run did not know
    their defaults.

    Raises:
        InputError: there is no run, or its config is damaged.
    """
    path = workdir / CONFIG_FILE
    if not path.is_file():
        raise files.not_found(path, "the working directory of a training run")
    return upgrade(files.read_json(path, "training"), path)


def upgrade(stored: object, path: pathlib.Path) -> config_dict.ConfigDict:
    """Makes a config of today's options from one that a run has stored; see `load_config`.

    Args:
        stored: the content of the JSON.
        path: the file that it comes from, for messages.

    Raises:
        InputError: it is no config of this version or an older one.
    """
    if not isinstance(stored, dict):
        raise InputError(f"{path}: found no options, expected the JSON that training wrote")
    config = default()
    for former, value in _flatten(stored).items():
        name = RENAMED.get(former, former)
        if name not in OPTIONS:
            raise InputError(
                f"{path}: found the option {name!r}, expected those of this version: "
                "a newer one may have started the run"
            )
        if isinstance(value, str):
            value = RENAMED_VALUES.get(name, {}).get(value, value)
        try:
            config.update_from_flattened_dict({name: value})
            check_option(name, _flatten(config.to_dict())[name])
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: config.{name}: {one_line(error)}") from error
    return config


def fingerprint(stored: Mapping[str, Any]) -> str:
    """Tells the options that make a run what it is from any others.

    Args:
        stored: a config as nested dicts, as JSON has them or with tuples.

    Returns:
        16 hexadecimal digits.
    """
    values = {
        name: value
        for name, value in _flatten(stored).items()
        if not (name in OPTIONS and OPTIONS[name].may_change)
    }
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_unedited(workdir: pathlib.Path, expected: str) -> None:
    """Checks that the config of a run is the one that training wrote.

    Args:
        workdir: the folder of the run.
        expected: the `fingerprint` of then; '' of an earlier version, which kept none.

    Raises:
        InputError: it is missing or damaged, or was edited and says no longer how the run was
            trained.
    """
    path = workdir / CONFIG_FILE
    if expected and fingerprint(files.read_json_object(path, "training")) != expected:
        raise InputError(
            f"{path}: found other values than those that the run was trained with, expected the "
            "file as training wrote it"
        )


def explain(message: str, arguments: Sequence[str]) -> str:
    """Says which option a message of `ConfigDict` is about, if its name is unknown or a former one.

    Args:
        message: such as 'Key "zoom" does not exist ...', which a config file may cause as well.
        arguments: the command line, which may have caused it.
    """
    names = (argument.lstrip("-").partition("=")[0] for argument in arguments)
    options = [name.removeprefix("config.") for name in names if name.startswith("config.")]
    for name in options:
        if name not in OPTIONS and name not in RENAMED:
            close = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = f", such as config.{close[0]}" if close else ""
            return (
                f"config.{name}: found no such option, expected one of sflow_jax/options.py{hint}"
            )
    former = [name for name in options if name in RENAMED] or [
        name for name in RENAMED if f'"{name.rpartition(".")[2]}" does not exist' in message
    ]
    return "; ".join(f"config.{name} is config.{RENAMED[name]} now" for name in former) or message


def check_resumable(config: config_dict.ConfigDict, workdir: pathlib.Path) -> None:
    """Checks that the run in `workdir`, if there is one, was started with this config.

    Raises:
        InputError: names every field that differs and makes it another run.
    """
    if not (workdir / CONFIG_FILE).exists():
        return
    found = differences(load_config(workdir), config, lambda field: not OPTIONS[field].may_change)
    if found:
        raise InputError(
            f"{workdir}: holds a run of another config ({'; '.join(found)}); "
            "use another --workdir or the former values"
        )


def changes(
    before: config_dict.ConfigDict, now: config_dict.ConfigDict
) -> dict[str, tuple[Any, Any]]:
    """The fields that differ between two configs, with their former and their present values."""
    old, new = _flatten(before.to_dict()), _flatten(now.to_dict())
    return {
        field: (old.get(field), new.get(field))
        for field in sorted(old.keys() | new.keys())
        if _plain(old.get(field)) != _plain(new.get(field))
    }


def differences(
    before: config_dict.ConfigDict,
    now: config_dict.ConfigDict,
    is_compared: Callable[[str], bool],
) -> list[str]:
    """Describes the fields, of those that are compared, that differ between two configs."""
    return [
        f"{field} is {new!r} and was {old!r}"
        for field, (old, new) in changes(before, now).items()
        if is_compared(field)
    ]


def _flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for section, options in config.items():
        if isinstance(options, dict):
            values |= {f"{section}.{field}": value for field, value in options.items()}
        else:
            values[section] = options
    return values


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value  # JSON knows no tuples


def _wrong_value(name: str, value: object, expected: str) -> InputError:
    return InputError(f"config.{name}: found {value!r}, expected {expected}")
