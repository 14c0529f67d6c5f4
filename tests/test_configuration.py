"""The options, the checks of a config, and configs of older runs."""

import json
import subprocess
import sys

import pytest

from configs import default, streets
from sflow_jax import configuration, losses
from sflow_jax.errors import InputError
from sflow_jax.options import OPTIONS, RENAMED
from tests.conftest import PROJECT_ROOT

# config.json of a run before ten options got their names of today, and some did not exist.
OLD_RUN = {
    "checkpoint": {"every_steps": 20, "keep": 3},
    "data": {
        "data_dir": "/data",
        "dataset": "streets",
        "frames": 1,
        "height": 64,
        "num_test": 4,
        "num_train": 40,
        "num_validation": 4,
        "source": "",
        "streets_seed": 0,
        "width": 128,
        "worker_count": 0,
    },
    "discriminator": {"num_layers": 3, "num_scales": 1, "sees_edges": False, "width": 32},
    "dned": {
        "balanced": True,
        "blur": 0.25,
        "dropout": 0.125,
        "input": "grey",
        "stop_gradient": False,
        "threshold_jitter": 0.75,
        "width": 8,
    },
    "edges": {"quantile": 0.85, "threshold": 0.1},
    "flow": {"loss": "farneback", "mask": "warp", "warp_weight": 9.0, "weight": 2.0},
    "generator": {
        "edges": "dned",
        "kind": "global",
        "num_blocks": 6,
        "num_downsamplings": 2,
        "num_local_blocks": 3,
        "width": 32,
    },
    "log": {"every_steps": 1, "images_every_steps": 1000000, "num_images": 4},
    "loss": {
        "adversarial": "lsgan",
        "dned": 3.0,
        "feature_matching": 4.0,
        "feature_weighting": "paper",
        "perceptual": 40.0,
        "perceptual_input": "imagenet",
        "perceptual_network": "streets",
        "perceptual_weights": "uniform",
        "side_weights": [1.0, 1.0, 1.0, 1.0, 1.0, 2.0],
    },
    "optimizer": {"beta1": 0.5, "beta2": 0.999, "ema_decay": 0.99, "learning_rate": 0.0005},
    "seed": 7,
    "train": {
        "batch_size": 1,
        "compute_dtype": "float32",
        "constant_epochs": 3.0,
        "epochs": 5.0,
        "flip": False,
        "laplacian_epochs": 0.2,
        "max_steps": 20,
        "ramp_epochs": 0.2,
        "zoom": 0.5,
    },
}


def load_stored(folder, content):
    (folder / configuration.CONFIG_FILE).write_text(json.dumps(content), encoding="utf-8")
    return configuration.load_config(folder)


def test_every_option_has_a_meaning_and_a_default_that_its_rule_allows():
    for name, option in OPTIONS.items():
        assert option.meaning, name
        assert option.rule.holds(option.default), name
    configuration.check(default.get_config())


def test_the_choices_are_those_of_the_losses():
    for name, choices in {
        "loss.adversarial": losses.ADVERSARIAL_FORMS,
        "loss.feature_weighting": losses.FEATURE_WEIGHTINGS,
        "loss.perceptual_weighting": losses.PERCEPTUAL_WEIGHTS,
    }.items():
        assert OPTIONS[name].rule.expected == "one of " + ", ".join(choices)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("method", "cyclegan", "one of sflow, pix2pix, pix2pixhd, vid2vid"),
        ("flow.loss", "wrap", "one of farneback, warp, both, none"),
        ("data.dataset", "kitti", "one of streets, cityscapes, synthia, folder"),
        ("dned.width", 0, "1 to 1,048,576"),
        ("augmentation.zoom", -0.1, "0 to 15"),
        ("augmentation.zoom", float("nan"), "0 to 15"),
        ("augmentation.edge_dropout", 1.5, "between 0 and 1"),
        ("edges.quantile", 1.1, "between 0 and 1"),
        ("optimizer.beta1", 1.0, "0 or more and less than 1"),
        ("data.height", 8, "16 to 16,384 pixels, or 0 for the files' own"),
        ("train.epochs", 0.0, "more than 0 and at most 1,000,000"),
        ("loss.side_weights", (1.0,) * 5, "six numbers of 0 or more, not all 0"),
        ("loss.side_weights", (0.0,) * 6, "six numbers of 0 or more, not all 0"),
        ("data.frames", 3, "1, or 2 for pairs"),
        ("data.frames", 0, "1 to 1,000"),
        ("discriminator.num_scales", 4, "one of 1, 2, 3"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(field, value, expected):
    config = default.get_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(InputError) as error:
        configuration.check(config)
    assert str(error.value) == f"config.{field}: found {value!r}, expected {expected}"


def test_two_configs_share_no_value():
    first, second = default.get_config(), default.get_config()
    first.edges.quantile = 0.5
    first.data.height = 64
    assert second.edges.quantile is None
    assert second.data.height == 256


def test_a_config_is_read_back_as_it_was_saved(tmp_path):
    config = streets.get_config()
    configuration.save(config, tmp_path)
    assert configuration.load_config(tmp_path) == config
    assert configuration.load_config(tmp_path).is_locked


def test_the_config_of_an_older_run_has_the_names_of_today(tmp_path):
    config = load_stored(tmp_path, OLD_RUN)
    configuration.check(config)
    assert config.augmentation.to_dict() == {
        "flip": False,
        "zoom": 0.5,
        "threshold_jitter": 0.75,
        "edge_dropout": 0.125,
        "edge_blur": 0.25,
        "cg_edges": 0.0,  # newer than the run
    }
    assert config.loss.feature_matching_weight == 4
    assert config.loss.perceptual_weight == 40
    assert config.loss.perceptual_weighting == "uniform"
    assert config.loss.dned_weight == 3
    assert config.loss.side_weights == (1.0, 1.0, 1.0, 1.0, 1.0, 2.0)
    assert config.flow.to_dict() == {
        "loss": "farneback",
        "mask": "warp",
        "warp_weight": 9.0,
        "farneback_weight": 2.0,
    }
    assert config.dned.input == "gray"
    assert (config.seed, config.edges.quantile) == (7, 0.85)
    # Options that the run did not know.
    assert config.method == "sflow"
    assert config.init_from == ""
    assert config.generator.remat is False
    assert config.eval.every_steps == 0


def test_an_older_run_continues_under_the_names_of_today(tmp_path):
    config = load_stored(tmp_path, OLD_RUN)
    config.train.max_steps = 40
    config.checkpoint.every_steps = 5
    config.generator.remat = True
    configuration.check_resumable(config, tmp_path)
    config.loss.dned_weight = 1.0
    with pytest.raises(InputError, match=r"another config \(loss\.dned_weight is 1\.0 and was 3"):
        configuration.check_resumable(config, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected the JSON that training wrote"),
        ("[]", "found no options, expected the JSON that training wrote"),
        ('{"train": {"speed": 2}}', "found the option 'train.speed', expected those of this"),
        ('{"train": {"epochs": "many"}}', "epochs"),
        ('{"train": 3}', "found the option 'train', expected those of this"),
        ('{"train": {"epochs": {"a": 1}}}', "epochs"),
        ('{"train": {"epochs": null}}', "epochs"),
        ('{"generator": {"width": -4}}', "config.generator.width: found -4, expected 1 to "),
        ('{"loss": {"side_weights": "abc"}}', "side_weights"),
        ('{"edges": {"quantile": NaN}}', "config.edges.quantile: found nan, expected between 0"),
    ],
)
def test_a_damaged_config_is_one_error_that_names_the_file(tmp_path, content, message):
    (tmp_path / configuration.CONFIG_FILE).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message) as error:
        configuration.load_config(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / configuration.CONFIG_FILE}: ")
    assert "\n" not in str(error.value)


def test_former_names_are_no_options_of_today():
    assert not RENAMED.keys() & OPTIONS.keys()
    assert RENAMED.keys()
    assert OPTIONS.keys() >= set(RENAMED.values())


def refused(*arguments):
    command = [sys.executable, "-m", "sflow_jax.prepare", *arguments]
    result = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: command line or config: ")
    return result.stderr.removeprefix("error: command line or config: ")


def test_a_former_name_on_the_command_line_or_in_a_file_is_answered_with_the_new_one(tmp_path):
    expected = "config.loss.perceptual is config.loss.perceptual_weight now\n"
    assert refused("--config", "configs/streets.py", "--config.loss.perceptual=0") == expected
    file = tmp_path / "mine.py"
    file.write_text(
        "from configs import default\n\n\n"
        "def get_config():\n"
        "    config = default.get_config()\n"
        "    config.loss.perceptual = 0.0\n"
        "    return config\n",
        encoding="utf-8",
    )
    assert refused("--config", str(file)) == expected


def test_an_unknown_name_on_the_command_line_is_answered_with_the_nearest_one():
    assert refused("--config", "configs/streets.py", "--config.loss.prceptual_weight=0") == (
        "config.loss.prceptual_weight: found no such option, expected one of "
        "sflow_jax/options.py, such as config.loss.perceptual_weight\n"
    )
