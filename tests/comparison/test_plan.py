"""Which runs a comparison has, and what it refuses before any work."""

import pytest

from sflow_jax.comparison import budget, plan
from sflow_jax.errors import InputError
from sflow_jax.files import write_json
from tests.tiny_run import tiny_config, write_run

STREETS = "configs/streets.py:tiny"
PIX2PIX = "configs/baselines/pix2pix.py:streets"


def test_every_config_is_trained_with_every_seed(tmp_path):
    overrides = ["data.data_dir=some where", "train.batch_size=2", "augmentation.flip=False"]
    runs = plan.plan_trainings([PIX2PIX, f"ours={STREETS}"], tmp_path, 2, overrides)
    assert [(run.name, run.workdir.name, run.config.seed) for run in runs] == [
        ("pix2pix", "pix2pix_0", 0),
        ("pix2pix", "pix2pix_1", 1),
        ("ours", "ours_0", 0),
        ("ours", "ours_1", 1),
    ]
    assert plan.methods_of(runs) == ["pix2pix", "ours"]
    config = runs[1].config
    assert (config.method, config.data.data_dir) == ("pix2pix", "some where")
    assert (config.train.batch_size, config.augmentation.flip) == (2, False)
    assert runs[3].arguments == [
        "--config",
        STREETS,
        "--workdir",
        str(tmp_path / "runs/ours_1"),
        "--config.data.data_dir=some where",
        "--config.train.batch_size=2",
        "--config.augmentation.flip=False",
        "--config.seed=1",
    ]
    assert not any(run.is_finished for run in runs)


@pytest.mark.parametrize(
    ("config_file", "override", "message"),
    [
        ("configs/nothing.py", "seed=0", r"configs/nothing\.py: not found"),
        ("configs/streets.py:huge", "seed=0", "found variant 'huge', expected demo"),
        (STREETS, "seed", "--override: found 'seed', expected OPTION=VALUE"),
        (STREETS, "generator.size=3", "--override: found 'generator.size=3', expected OPTION"),
        (STREETS, "generator.width=wide", "--override: generator.width=wide: "),
        (
            STREETS,
            "generator.width=0",
            r"config\.generator\.width: found 0, expected 1 to 1,048,576",
        ),
    ],
)
def test_wrong_configs_and_options_are_named(tmp_path, config_file, override, message):
    with pytest.raises(InputError, match=message):
        plan.plan_trainings([config_file], tmp_path, 1, [override])


def test_a_config_file_that_fails_is_named(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def get_config():\n    return 1 / 0\n")
    with pytest.raises(InputError, match=r"broken\.py: division by zero"):
        plan.load_config_file(str(path))


def test_finished_runs_are_taken_and_others_refused(tmp_path):
    write_run(tmp_path / "done", tiny_config(), steps=(20,))
    write_run(tmp_path / "half", tiny_config(), steps=(4,))
    (run,) = plan.plan_finished([f"ours={tmp_path / 'done'}"])
    assert (run.name, run.workdir) == ("ours", tmp_path / "done")
    assert run.is_finished
    with pytest.raises(InputError, match="half has not come to its end"):
        plan.plan_finished([f"ours={tmp_path / 'half'}"])
    with pytest.raises(InputError, match="found 'ours', expected NAME=WORKDIR"):
        plan.plan_finished(["ours"])
    with pytest.raises(InputError, match=r"nothing/config\.json: not found"):
        plan.plan_finished([f"ours={tmp_path / 'nothing'}"])


def test_runs_on_other_data_and_two_configs_under_one_name_are_refused(tmp_path):
    def runs(*entries, **changes):
        overrides = [f"{name}={value}" for name, value in changes.items()]
        return plan.plan_trainings(entries, tmp_path, 1, overrides)

    ours = runs(f"ours={STREETS}")
    plan.check_comparable([*ours, *runs(f"b={STREETS}", **{"data.data_dir": "x"})])
    with pytest.raises(InputError) as error:
        plan.check_comparable([*ours, *runs(f"b={STREETS}", **{"data.num_train": 4})])
    assert str(error.value) == (
        "b: its data are others than those of ours (data.num_train is 4 and was 8); expected runs "
        "on the same data"
    )
    on_clips = runs(f"b={STREETS}", **{"data.num_train": 4, "data.frames": 2, "init_from": "none"})
    plan.check_comparable([*ours, *on_clips], scored_on=tmp_path)
    smaller = runs(f"b={STREETS}", **{"data.height": 32})
    with pytest.raises(InputError, match=r"data\.height is 32 and was 64"):
        plan.check_comparable([*ours, *smaller], scored_on=tmp_path)
    with pytest.raises(InputError, match="ours: found runs of different configs under this name"):
        plan.check_comparable([*ours, *runs(f"ours={STREETS}", **{"generator.width": 8})])
    with pytest.raises(InputError, match="found no runs"):
        plan.check_comparable([])
    elsewhere = plan.plan_trainings([f"b={STREETS}"], tmp_path / "other", 1, [])
    with pytest.raises(InputError, match="--runs: found two folders of the name 'b_0'"):
        plan.check_comparable([*runs(f"b={STREETS}"), *elsewhere])


def test_equal_times_stretch_whole_schedules(tmp_path):
    """A step of half a second and eight of them in an epoch: three epochs in twelve seconds."""
    runs = plan.plan_trainings([f"ours={STREETS}"], tmp_path, 2, [])
    (tmp_path / "step_times").mkdir()
    write_json(tmp_path / "step_times/ours.json", {"seconds": 0.5, "steps_per_epoch": 8})
    planned = budget.with_equal_time(runs, tmp_path, 0.2)
    for before, run in zip(runs, planned, strict=True):
        old, new = before.config.train, run.config.train
        assert new.epochs == pytest.approx(3)
        for name in ("laplacian_epochs", "ramp_epochs", "constant_epochs"):
            assert new[name] / new.epochs == pytest.approx(old[name] / old.epochs)
            assert f"--config.train.{name}={new[name]}" in run.arguments
        assert run.config.seed == before.config.seed
        assert old.epochs == 2.5  # the other plan is as it was
