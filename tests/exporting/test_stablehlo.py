import jax.export
import numpy as np
import pytest

from sflow_jax.errors import InputError
from sflow_jax.exporting import stablehlo
from sflow_jax.exporting.sampler import Sampler, make_sampler
from tests.exporting.conftest import assert_same_pictures, frames


def load(model, sizes=None):
    exported = stablehlo.to_stablehlo(make_sampler(model), sizes or {})
    return jax.export.deserialize(bytearray(exported.content))


@pytest.fixture(scope="module")
def exported(model):
    return load(model)


@pytest.mark.parametrize(("count", "size"), [(1, (32, 40)), (3, (16, 16)), (2, (33, 47))])
def test_batches_and_frames_of_any_size_are_those_of_sampling(exported, model, count, size):
    given = frames(count, size)
    assert_same_pictures(np.asarray(exported.call(*given.arrays)), given.expected(model))


def test_one_file_is_for_all_platforms_and_names_its_axes(exported):
    assert exported.platforms == ("cpu", "cuda", "tpu")
    shapes = [(str(x.dtype), *map(str, x.shape)) for x in exported.in_avals]
    maps = [("uint8", "b", "h", "w", channels) for channels in "13"]
    assert shapes == [*maps, ("float32", "6"), ("int32", "b")]


def test_a_local_enhancer_takes_sides_that_are_multiples(local_model):
    exported = load(local_model)
    assert str(exported.in_avals[0].shape) == "(b, 32*h, 32*w, 1)"
    given = frames(2, (32, 64))
    assert_same_pictures(np.asarray(exported.call(*given.arrays)), given.expected(local_model))


def test_networks_that_need_fixed_sizes_are_refused_by_their_options(model):
    class Fixed(Sampler):
        def __call__(self, *arrays):
            return arrays[1][: int(arrays[1].shape[1])]

    sampler = Fixed(model, make_sampler(model).inputs)
    message = r"^--workdir: found networks .* expected --height, --width and --batch_size$"
    with pytest.raises(InputError, match=message):
        stablehlo.to_stablehlo(sampler, {})
    assert (
        stablehlo.to_stablehlo(sampler, {"h": 16, "w": 16}).shapes["label"]
        == "uint8 [b, 16, 16, 1]"
    )
