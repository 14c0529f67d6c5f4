"""The experiments in configs/: they load, pass the checks and belong together."""

import importlib
import inspect

import pytest

from configs import ablations, default, streets
from configs.baselines import on_data
from sflow_jax import configuration
from sflow_jax.errors import InputError
from tests.conftest import PROJECT_ROOT

NAMES = sorted(path.stem for path in (PROJECT_ROOT / "configs").glob("[a-z]*.py"))
VIDEO_NAMES = [name for name in NAMES if name.endswith("_video")]
VARIANTS = ("demo", "offline", "tiny")
VARIED = [
    name
    for name in NAMES
    if "variant"
    in inspect.signature(importlib.import_module(f"configs.{name}").get_config).parameters
]


def load(name, *variant):
    return importlib.import_module(f"configs.{name}").get_config(*variant)


def every_config():
    return [(name, ()) for name in NAMES] + [(name, (v,)) for name in VARIED for v in VARIANTS]


@pytest.mark.parametrize(("name", "variant"), every_config(), ids=str)
def test_a_config_has_all_fields_and_passes_the_checks(name, variant):
    config = load(name, *variant)
    fields = {
        key: sorted(value) if hasattr(value, "keys") else None for key, value in config.items()
    }
    defaults = default.get_config()
    assert fields == {
        key: sorted(value) if hasattr(value, "keys") else None for key, value in defaults.items()
    }
    assert config.is_locked
    if name in VIDEO_NAMES:
        with pytest.raises(InputError, match=r"config\.init_from: found ''"):
            configuration.check(config)
        config.init_from = "runs/images"
    configuration.check(config)


@pytest.mark.parametrize("data", on_data.DATA)
@pytest.mark.parametrize("method", ["pix2pix", "pix2pixhd"])
def test_a_baseline_has_the_data_and_length_of_our_own_experiment(method, data):
    config, ours = load(f"baselines.{method}", data), load(data)
    assert config.method == method
    configuration.check(config)
    assert config.data.to_dict() == ours.data.to_dict()
    assert config.train.epochs == ours.train.epochs
    halved = 2**config.generator.num_downsamplings
    assert config.data.height % halved == config.data.width % halved == 0
    with pytest.raises(ValueError, match="found data 'moon', expected cityscapes, streets, camvid"):
        load(f"baselines.{method}", "moon")


@pytest.mark.parametrize("data", on_data.DATA)
def test_vid2vid_trains_on_clips_of_our_own_data(data):
    config, ours = load("baselines.vid2vid", data), load(data)
    assert config.method == "vid2vid"
    configuration.check(config)
    assert (config.data.dataset, config.data.source) == (ours.data.dataset, ours.data.source)
    # Sequences of Cityscapes and CamVid have no instances.
    assert config.vid2vid.boundaries == (data == "streets")
    assert config.data.frames > 6  # its second temporal discriminator sees something


def test_the_baselines_halve_sides_as_officially():
    def halvings(method, data):
        return load(f"baselines.{method}", data).generator.num_downsamplings

    assert [halvings("pix2pix", data) for data in on_data.DATA] == [8, 6, 5]
    assert halvings("pix2pixhd", "cityscapes") == 4


@pytest.mark.parametrize("ablation", ablations.ABLATIONS)
def test_an_ablation_changes_what_it_names_and_nothing_else(ablation):
    for experiment in ("streets", "camvid_video"):
        config, whole = load("ablations", f"{experiment}/{ablation}"), load(experiment)
        config.init_from = whole.init_from = "runs/images"
        configuration.check(config)
        changed = configuration.differences(whole, config, lambda field: True)
        assert len(changed) <= len(ablations.ABLATIONS[ablation])
    for wrong in ("streets", "streets/all", "moon/labels"):
        with pytest.raises(ValueError, match="expected EXPERIMENT/ABLATION"):
            load("ablations", wrong)


@pytest.mark.parametrize("name", ["streets", "camvid"])
def test_the_papers_method_is_a_config_as_well(name):
    paper, ours, default_config = load(name, "paper"), load(name), default.get_config()
    configuration.check(paper)
    changed = configuration.differences(ours, paper, lambda field: True)
    assert {line.split()[0] for line in changed} <= set(streets.OURS)
    assert len(changed) > 4
    for option in streets.OURS:
        section, _, field = option.partition(".")
        assert paper[section][field] == default_config[section][field]


def test_the_simulators_configs_have_a_tiny_variant():
    assert VARIED == ["streets", "streets_video"]
    for name in VARIED:
        tiny, demo = load(name, "tiny"), load(name, "demo")
        assert tiny.generator.width < demo.generator.width
        assert tiny.data.num_train < demo.data.num_train
        with pytest.raises(ValueError, match="found variant 'huge', expected demo, offline"):
            load(name, "huge")


@pytest.mark.parametrize("name", VIDEO_NAMES)
def test_a_video_stage_has_the_networks_and_data_of_its_image_stage(name):
    variants = VARIANTS if name in VARIED else (None,)
    for variant in variants:
        arguments = () if variant is None else (variant,)
        video, image = load(name, *arguments), load(name.removesuffix("_video"), *arguments)
        for section in ("edges", "dned", "generator", "discriminator", "loss"):
            assert video[section].to_dict() == image[section].to_dict()
        for field in ("dataset", "height", "width"):
            assert video.data[field] == image.data[field]
        assert (image.data.frames, video.data.frames) == (1, 2)
        assert video.optimizer.learning_rate < image.optimizer.learning_rate
        assert video.train.laplacian_epochs == video.train.ramp_epochs == 0
