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
from sflow_jax.training.new_classes import kernels_of_classes
from sflow_jax.variables import flatten
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
    state = initialize(config, fresh, TABLE)
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
    assert initialize(config, "untouched", TABLE) == "untouched"
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


def test_what_reads_label_maps_begins_anew_on_other_classes(image_run, capsys):
    config = video_config(image_run)
    for table in (TABLE, dataclasses.replace(TABLE, name="a film"), labels.STREETS):
        check_classes(config, table)
    schedule = Schedule.from_config(config.train, 8, 1)
    method = create_method(config, labels.STREETS, schedule)
    fresh = random_state(method, config, schedule, seed=9)
    state = initialize(config, fresh, labels.STREETS)
    told = capsys.readouterr().out
    assert "step 4" in told
    assert "other classes (4 of 'toy'; here 19 of 'streets')" in told
    source = create_method(config, TABLE, schedule)
    saved = random_state(source, config, schedule, seed=4)
    anew = set()
    for name, learned in (
        ("discriminator_params", saved.discriminator_params),
        ("ema_params", saved.ema_params),
    ):
        taken, new, old = map(flatten, (getattr(state, name), getattr(fresh, name), learned))
        for path in taken:
            is_new = taken[path].shape != old[path].shape
            np.testing.assert_array_equal(taken[path], (new if is_new else old)[path])
            anew |= {f"{name.removeprefix('ema_')}/{path}"} if is_new else set()
    assert len(anew) == 2  # the first kernels of the generator and of the discriminator
    assert all(path in told for path in anew)
    assert state.step == 0


def test_as_many_other_classes_are_other_classes(image_run, capsys):
    swapped = [dataclasses.replace(c, name=c.name[::-1]) for c in TABLE.classes]
    table = dataclasses.replace(TABLE, classes=tuple(swapped))
    config = video_config(image_run)
    schedule = Schedule.from_config(config.train, 8, 1)
    fresh = random_state(create_method(config, table, schedule), config, schedule, seed=9)
    state = initialize(config, fresh, table)
    told = capsys.readouterr().out
    for path in kernels_of_classes(config, table):
        part, _, rest = path.partition("/")
        found, expected = (flatten(getattr(x, part))[rest] for x in (state, fresh))
        np.testing.assert_array_equal(found, expected)
        assert path in told


def test_an_enhancer_needs_the_classes_of_its_global_generator(image_run):
    config = video_config(image_run, **{"generator.kind": "local"})
    check_classes(config, TABLE)
    with pytest.raises(InputError, match=r"run has learned other classes .* of an enhancer$"):
        check_classes(config, labels.STREETS)


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
        "expected step 16 or later, or config.train.laplacian_epochs and ramp_epochs that lead "
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
