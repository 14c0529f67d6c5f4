"""A training run with tiny networks and random parameters, as the training loop would leave it."""

import dataclasses
import pathlib

import jax
import numpy as np

from configs import streets
from sflow_jax import configuration
from sflow_jax.data import images, labels
from sflow_jax.inference import TrainedModel, Translator, restore_model
from sflow_jax.methods import create_method
from sflow_jax.runs.checkpoints import Checkpoints
from sflow_jax.runs.record import RunRecord
from sflow_jax.runs.schedule import Schedule
from tests.fast_jit import fast_jit
from tests.random_weights import random_state

TABLE = labels.ClassTable(
    "toy",
    (
        labels.LabelClass(0, "void", (0, 0, 0), None),
        labels.LabelClass(2, "road", (128, 64, 128), 0),
        labels.LabelClass(3, "car", (0, 0, 142), 1),
        labels.LabelClass(5, "sky", (70, 130, 180), 2),
    ),
)


def tiny_config(**changes):
    """The test config with a fixed edge threshold; changes such as `**{"data.source": ...}`."""
    config = streets.get_test_config()
    config.edges.quantile = None
    config.update_from_flattened_dict(changes)
    return config


def write_run(workdir: pathlib.Path, config, table=TABLE, steps=(4,), dned_share=1.0):
    """Writes checkpoints (each with other parameters), config, class table and the run's record."""
    schedule = Schedule.from_config(config.train, 8, 1)
    method = create_method(config, table, schedule)
    workdir.mkdir(parents=True)
    configuration.save(config, workdir)
    with Checkpoints(workdir, config.checkpoint) as checkpoints:
        for step in steps:
            state = random_state(method, config, schedule, seed=step)
            # Nothing but the average may be used.
            state = state.replace(params=jax.tree.map(np.zeros_like, state.params))
            checkpoints.save(step, state)
    # A ramp that has come to this share at the last checkpoint, or no ramp at all.
    has_ramp = 0 < dned_share < 1
    ramp = dataclasses.replace(
        schedule,
        laplacian_steps=0 if dned_share else steps[-1] + 1,
        ramp_steps=round(steps[-1] / dned_share) if has_ramp else 0,
    )
    RunRecord(str(workdir / "no-dataset"), 8, 1, ramp).save(workdir, table)


def random_frame(seed: int, size: tuple[int, int] = (32, 40)) -> dict[str, np.ndarray]:
    """A frame as the folder dataset has it: `image`, `cg` and `label`, in blocks of 4x4 pixels."""
    random = np.random.RandomState(seed)
    cells = [-(-side // 4) for side in size]

    def enlarge(blocks: np.ndarray) -> np.ndarray:
        return blocks.repeat(4, 0).repeat(4, 1)[: size[0], : size[1]].astype(np.uint8)

    return {
        "label": enlarge(random.choice([0, 2, 3, 5], (*cells, 1))),
        "image": enlarge(random.randint(0, 256, (*cells, 3))),
        "cg": enlarge(random.randint(0, 256, (*cells, 3))),
    }


def write_frame(group: pathlib.Path, name: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes a frame's arrays as GROUP/KEY/NAME.png."""
    for key, array in arrays.items():
        path = group / key / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images.encode_png(array))


def restore_fast(workdir: pathlib.Path, step: int | None = None) -> TrainedModel:
    """`inference.restore_model` with a translation that compiles fast."""
    model = restore_model(workdir, step)
    return dataclasses.replace(model, translator=Translator(model.method, fast_jit))
