"""A local enhancer around the global generator of another run, and its fixed trunk."""

import jax
import numpy as np
import pytest

from configs.baselines import pix2pixhd
from sflow_jax import configuration
from sflow_jax.errors import InputError
from sflow_jax.methods import create_method
from sflow_jax.runs.checkpoints import restore_parts
from sflow_jax.runs.schedule import Schedule
from sflow_jax.training.initialize import check_source, initialize
from sflow_jax.training.step import make_train_step
from tests.fast_jit import fast_jit
from tests.random_weights import random_batch, random_state
from tests.tiny_run import TABLE, tiny_config, write_run

NAMES = ("params", "discriminator_params", "ema_params")


def make_config(base, **changes):
    config = base()
    config.generator.width, config.discriminator.width = 4, 2
    config.generator.num_blocks, config.generator.num_downsamplings = 1, 2
    config.update_from_flattened_dict(changes)
    return config


def hd_config(**changes):
    return make_config(lambda: pix2pixhd.get_config("camvid"), **changes)


def enhancer(base, workdir, **changes):
    """Half the width at twice the size: the trunk is the other run's."""
    return make_config(
        base,
        **{
            "generator.kind": "local",
            "generator.width": 2,
            "generator.num_local_blocks": 1,
            "discriminator.num_scales": 3,
            "init_from": str(workdir),
            **changes,
        },
    )


@pytest.fixture(scope="module", params=["pix2pixhd", "sflow"])
def coarse(request, tmp_path_factory):
    base = tiny_config if request.param == "sflow" else hd_config
    workdir = tmp_path_factory.mktemp("coarse") / request.param
    write_run(workdir, make_config(base, **{"discriminator.num_scales": 2}))
    return base, workdir


def start(config):
    schedule = Schedule.from_config(config.train, 8, 1)
    method = create_method(config, TABLE, schedule)
    fresh = random_state(method, config, schedule, seed=9)
    configuration.check(config)
    check_source(config)
    return method, schedule, fresh, initialize(config, fresh, TABLE)


def test_the_trunk_and_the_coarser_discriminators_continue(coarse):
    base, workdir = coarse
    _, _, fresh, state = start(enhancer(base, workdir))
    shapes, _ = jax.eval_shape(
        create_method(make_config(base), TABLE, Schedule(1, 0, 0, 1, 2, 2)).init, jax.random.key(0)
    )
    saved, _ = restore_parts(workdir, {"ema_params": shapes})
    equal = np.testing.assert_array_equal
    for name in ("params", "ema_params"):
        new, old = (getattr(s, name)["generator"]["params"] for s in (state, fresh))
        for layer in ("stem", "down", "block_0", "up", "to_image"):
            jax.tree.map(equal, new[layer], old[layer])
    ema = state.ema_params["generator"]["params"]["trunk"]
    jax.tree.map(equal, ema, saved["ema_params"]["generator"]["params"]["trunk"])
    if "dned" in state.params:
        jax.tree.map(equal, state.ema_params["dned"], saved["ema_params"]["dned"])
    scales = {f"scale_{k}": state.discriminator_params["params"]["scale_1"] for k in (0,)}
    shapes = {"params": scales | {"scale_1": state.discriminator_params["params"]["scale_2"]}}
    saved, _ = restore_parts(workdir, {"discriminator_params": shapes})
    there = saved["discriminator_params"]["params"]
    here = state.discriminator_params["params"]
    for coarser, finer in (("scale_0", "scale_1"), ("scale_1", "scale_2")):
        jax.tree.map(equal, here[finer], there[coarser])
    jax.tree.map(equal, here["scale_0"], fresh.discriminator_params["params"]["scale_0"])
    assert jax.tree.structure(state) == jax.tree.structure(fresh)


def test_a_fixed_trunk_does_not_move_and_the_rest_does(coarse):
    base, workdir = coarse
    changes = {"generator.fixed_trunk": True, "loss.perceptual_weight": 0.0}
    config = enhancer(base, workdir, **changes, **{"augmentation.zoom": 0.0})
    method, schedule, _, state = start(config)
    batch = random_batch((32, 32), 1, 3)
    step = fast_jit(make_train_step(method, schedule, config, axis_name=None))
    after, _ = step(step(state, {}, batch)[0], {}, batch)
    new, old = (s.params["generator"]["params"] for s in (after, state))
    jax.tree.map(np.testing.assert_array_equal, new["trunk"], old["trunk"])
    for layer in ("stem", "down", "block_0", "up", "to_image"):
        moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), new[layer], old[layer])
        assert all(jax.tree.leaves(moved))


def test_the_whole_network_continues_an_enhancer_s_run(tmp_path):
    workdir = tmp_path / "enhancer"
    write_run(workdir, enhancer(hd_config, "x", **{"generator.fixed_trunk": True}))
    config = enhancer(hd_config, workdir)
    _, _, fresh, state = start(config)
    saved, _ = restore_parts(workdir, {name: getattr(fresh, name) for name in NAMES})
    for name in NAMES:
        jax.tree.map(np.testing.assert_array_equal, getattr(state, name), saved[name])


def test_a_trunk_of_another_width_is_named(coarse):
    base, workdir = coarse
    with pytest.raises(InputError, match=r"generator\.width is 8 and was 4"):
        check_source(enhancer(base, workdir, **{"generator.width": 4}))


def test_a_fixed_trunk_needs_an_enhancer_and_a_run():
    with pytest.raises(InputError, match=r"fixed_trunk: found True, expected False without"):
        configuration.check(hd_config(**{"generator.fixed_trunk": True}))
    with pytest.raises(InputError, match=r"fixed_trunk: found True, expected False, or config"):
        configuration.check(enhancer(hd_config, "", **{"generator.fixed_trunk": True}))
