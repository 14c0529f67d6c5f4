import dataclasses
import shutil

import jax
import numpy as np
import pytest

from configs import streets_video
from sflow_jax import configuration
from sflow_jax.data import labels
from sflow_jax.errors import InputError
from sflow_jax.methods import create_method
from sflow_jax.runs.checkpoints import restore_parts
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.initialize import check_classes, check_source, initialize
from tests.random_weights import random_state
from tests.tiny_run import TABLE, tiny_config, write_run


@pytest.fixture(scope="module")
def image_run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("initialize") / "run"
    write_run(workdir, tiny_config(), steps=(2, 4))
    return workdir


def video_config(workdir, **changes):
    config = streets_video.get_config("tiny")
    config.edges.quantile = None
    config.init_from = str(workdir)
    config.update_from_flattened_dict(changes)
    return config


def test_all_networks_and_the_average_come_from_the_newest_checkpoint(image_run):
    config = video_config(image_run)
    schedule = Schedule.from_config(config.train, 8, 1)
    fresh = random_state(create_method(config, TABLE, schedule), config, schedule, seed=9)
    state = initialize(config, fresh)
    names = ("params", "discriminator_params", "ema_params")
    saved, step = restore_parts(image_run, {name: getattr(fresh, name) for name in names})
    assert step == 4
    for name in names:
        jax.tree.map(np.testing.assert_array_equal, getattr(state, name), saved[name])
    changed = jax.tree.map(lambda a, b: np.any(a != b), state.ema_params, fresh.ema_params)
    assert all(jax.tree.leaves(changed))
    assert state.step == 0
    for name in ("optimizer_state", "discriminator_optimizer_state"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, name), getattr(fresh, name))


def test_the_image_run_may_be_left_out_on_purpose(image_run):
    config = video_config("none")
    configuration.check(config)
    check_source(config)
    check_classes(config, TABLE)
    assert initialize(config, "untouched") == "untouched"
    with pytest.raises(InputError) as error:
        configuration.check(video_config(""))
    assert str(error.value) == (
        "config.init_from: found '', expected the --workdir of a trained image run, "
        "or none to start from random networks"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"generator.width": 8}, "generator.width is 8 and was 4"),
        ({"dned.width": 4}, "dned.width is 4 and was 2"),
        ({"discriminator.num_layers": 2}, "discriminator.num_layers is 2 and was 3"),
        ({"edges.threshold": 0.2}, "edges.threshold is 0.2 and was 0.1"),
        (
            {"loss.side_weights": (0.0,) * 5 + (1.0,)},
            "loss.side_weights is (0.0, 0.0, 0.0, 0.0, 0.0, 1.0) and was "
            "(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)",
        ),
    ],
)
def test_other_networks_are_named(image_run, changes, message):
    with pytest.raises(InputError) as error:
        check_source(video_config(image_run, **changes))
    assert str(error.value) == (
        f"config.init_from: {image_run} holds other networks ({message}); "
        "expected the same values here as there"
    )


def test_other_classes_are_named(image_run):
    check_classes(video_config(image_run), TABLE)
    check_classes(video_config(image_run), dataclasses.replace(TABLE, name="a film"))
    with pytest.raises(
        InputError, match=r"run has learned other classes than those of the dataset"
    ):
        check_classes(video_config(image_run), labels.STREETS)


def test_a_run_without_a_checkpoint_is_named(image_run, tmp_path):
    for name in (configuration.CONFIG_FILE, labels.CLASSES_FILE):
        shutil.copy(image_run / name, tmp_path)
    (tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp").mkdir(parents=True)  # killed in saving
    with pytest.raises(InputError, match="holds no whole checkpoint yet"):
        check_source(video_config(tmp_path))


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing/config\.json: not found"):
        check_source(video_config(tmp_path / "nothing"))


def test_a_run_that_has_not_come_to_dned_s_edges_is_named(tmp_path):
    workdir = tmp_path / "run"
    write_run(workdir, tiny_config(), dned_share=0.25)
    with pytest.raises(InputError) as error:
        check_source(video_config(workdir))
    assert str(error.value) == (
        f"config.init_from: {workdir} is at step 4, where the generator's edges are DNED's by 25%; "
        "expected step 754 or later, or config.train.laplacian_epochs and ramp_epochs that lead "
        "there"
    )
    check_source(video_config(workdir, **{"train.ramp_epochs": 1.0}))


def test_edges_without_dned_need_neither_its_stage_nor_its_weights(tmp_path):
    workdir = tmp_path / "run"
    edges = {"generator.edges": "laplacian"}
    write_run(workdir, tiny_config(**edges), dned_share=0.25)
    check_source(video_config(workdir, **edges, **{"loss.side_weights": (1.0, 0, 0, 0, 0, 0)}))


def test_the_other_options_may_differ(image_run):
    changes = {
        "augmentation.flip": False,
        "augmentation.edge_dropout": 0.1,
        "loss.perceptual_weight": 1.0,
    }
    check_source(video_config(image_run, **changes))
