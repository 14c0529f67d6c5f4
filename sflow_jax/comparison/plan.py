"""Which runs a comparison consists of, checked before the first of them is trained."""

import ast
import dataclasses
import importlib.util
import pathlib
from collections.abc import Sequence

import ml_collections

from sflow_jax import configuration
from sflow_jax.data.labels import CLASSES_FILE, ClassTable
from sflow_jax.errors import InputError, one_line
from sflow_jax.methods import create_method
from sflow_jax.options import OPTIONS
from sflow_jax.runs.checkpoints import newest_step
from sflow_jax.runs.record import RunRecord, check_was_trained

_SAME_PICTURES = ("data.dataset", "data.height", "data.width")
_ANY_PLACE = ("data.source", "data.data_dir", "data.worker_count")  # do not change the data


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of one method.

    Attributes:
        name: of the method in the report.
        workdir: folder of the run.
        config: of the run.
        config_file: the --config that trains it, empty for a run that was finished before.
        overrides: 'name=value' of options that differ from the config file.
    """

    name: str
    workdir: pathlib.Path
    config: ml_collections.ConfigDict
    config_file: str = ""
    overrides: tuple[str, ...] = ()

    @property
    def arguments(self) -> list[str]:
        """The arguments of `sflow_jax.main` that train it."""
        options = [f"--config.{override}" for override in self.overrides]
        return ["--config", self.config_file, "--workdir", str(self.workdir), *options]

    @property
    def is_finished(self) -> bool:
        """Whether its last checkpoint is there."""
        step = newest_step(self.workdir)
        return step is not None and step >= RunRecord.load(self.workdir).schedule.num_steps


def plan_trainings(
    config_files: Sequence[str], workdir: pathlib.Path, num_seeds: int, overrides: Sequence[str]
) -> list[Run]:
    """A run for every config and seed, in folders WORKDIR/runs/NAME_SEED.

    Args:
        config_files: each `FILE.py`, `FILE.py:VARIANT` or `NAME=` one of these; by default the name
            is that of the file.
        workdir: the folder of the comparison.
        num_seeds: runs of each config, with the seeds 0, 1, ...
        overrides: 'name=value' of options, for all configs.

    Raises:
        InputError: a config cannot be loaded, two have one name, or an option is wrong.
    """
    runs = []
    for entry in config_files:
        name, config_file = _named(entry)
        for seed in range(num_seeds):
            own = (*overrides, f"seed={seed}")
            config = load_config_file(config_file, own)
            configuration.check(config)
            runs.append(Run(name, workdir / "runs" / f"{name}_{seed}", config, config_file, own))
    return runs


def plan_finished(entries: Sequence[str]) -> list[Run]:
    """Runs that were trained before: each entry is 'NAME=WORKDIR', a name once for every seed.

    Raises:
        InputError: an entry is no such pair, or names no finished run.
    """
    runs = []
    for entry in entries:
        name, equals, folder = entry.partition("=")
        if not (name and equals and folder):
            raise InputError(f"--runs: found {entry!r}, expected NAME=WORKDIR")
        workdir = pathlib.Path(folder)
        run = Run(name, workdir, configuration.load_config(workdir))
        check_was_trained(workdir, "--runs", "a run that was trained here")
        if not run.is_finished:
            raise InputError(f"--runs: {workdir} has not come to its end; expected a finished run")
        runs.append(run)
    return runs


def check_comparable(runs: Sequence[Run], scored_on: pathlib.Path | None = None) -> None:
    """Checks that all runs have the same data, and each method one config.

    Args:
        runs: of all methods.
        scored_on: the prepared dataset that all are scored on. Their own may then be single frames,
            pairs and clips, and as many as they like, of pictures of one size.

    Raises:
        InputError: names the two runs and what differs.
    """
    if not runs:
        raise InputError("command line: found no runs, expected --configs or --runs")
    for run in runs[1:]:
        differences = configuration.differences(
            runs[0].config,
            run.config,
            lambda field: (
                field in _SAME_PICTURES
                if scored_on
                else field.startswith("data.") and field not in _ANY_PLACE
            ),
        )
        if differences:
            raise InputError(
                f"{run.name}: its data are others than those of {runs[0].name} "
                f"({'; '.join(differences)}); expected runs on the same data"
            )
    for name in methods_of(runs):
        own = [run for run in runs if run.name == name]
        for run in own[1:]:
            differences = configuration.differences(
                own[0].config, run.config, lambda field: field not in ("seed", *_ANY_PLACE)
            )
            if differences:
                raise InputError(
                    f"{name}: found runs of different configs under this name "
                    f"({'; '.join(differences)}); expected a name for each"
                )
    folders: dict[str, Run] = {}
    for run in runs:
        if folders.setdefault(run.workdir.name, run) is not run:
            raise InputError(
                f"--runs: found two folders of the name {run.workdir.name!r}, expected a name for "
                "each: results are kept by it"
            )


def sees_edges(run: Run) -> bool:
    """Whether edges guide the generator of a run that has begun."""
    class_table = ClassTable.from_json(run.workdir / CLASSES_FILE)
    schedule = RunRecord.load(run.workdir).schedule
    return create_method(run.config, class_table, schedule).sees_edges


def methods_of(runs: Sequence[Run]) -> list[str]:
    """The names of the methods, in the order of the report."""
    return list(first_runs(runs))


def first_runs(runs: Sequence[Run]) -> dict[str, Run]:
    """The first run of each method, by its name, in the order of the report."""
    found: dict[str, Run] = {}
    for run in runs:
        found.setdefault(run.name, run)
    return found


def load_config_file(config_file: str, overrides: Sequence[str] = ()) -> ml_collections.ConfigDict:
    """Loads a config as `--config FILE.py:VARIANT` does.

    Raises:
        InputError: there is no such file, it fails, or an override is no option.
    """
    file_name, colon, variant = config_file.partition(":")
    path = pathlib.Path(file_name)
    if not path.is_file():
        raise InputError(f"--configs: {file_name}: not found, expected a config file")
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"--configs: {file_name}: expected a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(*([variant] if colon else []))
    except Exception as error:  # whatever a user's file raises
        raise InputError(f"--configs: {config_file}: {one_line(error)}") from error
    for override in overrides:
        _set_option(config, override)
    return config


def _set_option(config: ml_collections.ConfigDict, override: str) -> None:
    name, equals, text = override.partition("=")
    if not equals or name not in OPTIONS:
        raise InputError(
            f"--override: found {override!r}, expected OPTION=VALUE, such as data.source=DIR"
        )
    value: object = text
    if not isinstance(OPTIONS[name].default, str):
        try:
            value = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            value = text  # which the type refuses below
    try:
        config.update_from_flattened_dict({name: value})
    except (TypeError, ValueError) as error:
        raise InputError(f"--override: {override}: {one_line(error)}") from error


def _named(entry: str) -> tuple[str, str]:
    name, equals, config_file = entry.partition("=")
    if equals:
        return name, config_file
    return pathlib.Path(entry.partition(":")[0]).stem, entry
