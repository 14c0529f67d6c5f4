"""A run is continued only where its own files say how it was trained."""

import json

import pytest

from configs import streets
from sflow_jax import configuration
from sflow_jax.data.labels import STREETS
from sflow_jax.errors import InputError
from sflow_jax.inference import restore_model
from sflow_jax.runs.record import RunRecord
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.workdir import check_workdir

CONFIG = streets.get_config("tiny")


@pytest.fixture
def workdir(tmp_path):
    configuration.save(CONFIG, tmp_path)
    fingerprint = configuration.fingerprint(CONFIG.to_dict())
    schedule = Schedule.from_config(CONFIG.train, 8, 1)
    RunRecord("", 8, 1, schedule, config=fingerprint).save(tmp_path, STREETS)
    (tmp_path / "checkpoints/4").mkdir(parents=True)
    return tmp_path


def changed(**values):
    config = CONFIG.copy_and_resolve_references()
    config.update_from_flattened_dict(values)
    return config


def test_a_run_continues_also_with_another_log(workdir):
    check_workdir(CONFIG, workdir)
    other = changed(**{"log.every_steps": 7})
    check_workdir(other, workdir)
    configuration.save(other, workdir)
    check_workdir(CONFIG, workdir)


@pytest.mark.parametrize("name", ["config.json", "run.json"])
def test_checkpoints_without_what_says_how_they_were_trained_are_refused(workdir, name):
    (workdir / name).unlink()
    with pytest.raises(InputError, match=f"found checkpoints without {name}, expected what"):
        check_workdir(CONFIG, workdir)
    (workdir / "checkpoints/4").rmdir()  # such as a start that was killed leaves
    check_workdir(CONFIG, workdir)


@pytest.mark.parametrize("value", [{"optimizer.beta1": 0.25}, {"generator.width": 8}])
def test_an_edited_config_is_refused_in_training_and_in_use(workdir, value):
    configuration.save(changed(**value), workdir)
    for config in (CONFIG, changed(**value)):
        with pytest.raises(InputError, match=r"config\.json: found other values than those that"):
            check_workdir(config, workdir)
    with pytest.raises(InputError, match=r"config\.json: found other values than those that"):
        restore_model(workdir)


def test_a_config_without_a_section_is_refused(workdir):
    path = workdir / "config.json"
    content = json.loads(path.read_text())
    del content["optimizer"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"config\.json: found other values"):
        check_workdir(CONFIG, workdir)


def test_a_run_of_an_earlier_version_is_continued(workdir):
    path = workdir / "run.json"
    content = json.loads(path.read_text())
    del content["config"], content["data"]
    path.write_text(json.dumps(content))
    check_workdir(CONFIG, workdir)
