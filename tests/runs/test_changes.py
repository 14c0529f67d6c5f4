import json

import pytest

from sflow_jax import configuration
from sflow_jax.errors import InputError
from sflow_jax.runs.changes import CHANGES_FILE, note_changes
from tests.tiny_run import tiny_config, write_run


def test_what_changes_is_said_and_kept(tmp_path, capsys):
    workdir = tmp_path / "run"
    before = tiny_config()
    write_run(workdir, before, steps=(2,))
    now = tiny_config(**{"train.epochs": 5.0, "optimizer.learning_rate": 1e-4})
    configuration.check_resumable(now, workdir)
    note_changes(workdir, now, 4)
    assert capsys.readouterr().out.splitlines() == [
        "from step 4 on: config.optimizer.learning_rate is 0.0001 and was "
        f"{before.optimizer.learning_rate}",
        "from step 4 on: config.train.epochs is 5.0 and was 2.5",
    ]
    configuration.save(now, workdir)
    note_changes(workdir, now, 4)
    assert not capsys.readouterr().out
    later = tiny_config(**{"train.epochs": 6.0, "optimizer.learning_rate": 1e-4})
    note_changes(workdir, later, 6)
    lines = [json.loads(line) for line in (workdir / CHANGES_FILE).read_text().splitlines()]
    assert [line["step"] for line in lines] == [4, 6]
    assert [line["changes"].get("train.epochs") for line in lines] == [[2.5, 5.0], [5.0, 6.0]]


@pytest.mark.parametrize(
    ("field", "value", "may_change"),
    [
        ("train.batch_size", 2, True),  # the record holds that over all devices
        ("train.constant_epochs", 2.0, True),
        ("log.every_steps", 7, True),
        ("data.height", 128, False),
        ("generator.width", 8, False),
        ("loss.adversarial", "hinge", False),
        ("train.laplacian_epochs", 3.0, False),
        ("data.frame_step", 5, False),
    ],
)
def test_data_networks_and_losses_do_not_change(tmp_path, field, value, may_change):
    configuration.save(tiny_config(), tmp_path)
    config = tiny_config(**{field: value})
    if may_change:
        configuration.check_resumable(config, tmp_path)
    else:
        with pytest.raises(InputError, match=f"another config .{field} is"):
            configuration.check_resumable(config, tmp_path)
