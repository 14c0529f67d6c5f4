"""A run whose generator is told colors: trained, continued, sampled, and as a video stage."""

import numpy as np
import pytest

from sflow_jax.data import images
from sflow_jax.inference import restore_model
from sflow_jax.runs.palettes import collect_palettes, load_palettes
from sflow_jax.sampling import job, translation
from tests.as_bytes import to_uint8
from tests.tiny_run import random_frame, write_frame
from tests.training.test_loop import run

PALETTE = {"generator.palette": "classes"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("colors")


@pytest.fixture(scope="module")
def workdir(folder):
    workdir = folder / "run"
    for last_step in (2, 3):  # the second goes on from the first
        code, _, errors = run(
            "--workdir",
            workdir,
            **PALETTE,
            **{"train.max_steps": last_step, "data.data_dir": folder / "data"},
        )
        assert code == 0, errors
    return workdir


def test_the_run_keeps_the_colors_of_its_training_images(workdir):
    model = restore_model(workdir)
    assert model.step == 3
    kept = load_palettes(workdir, model.class_table.num_classes)
    from sflow_jax.data.prepared import open_dataset

    dataset = open_dataset(next((workdir.parent / "data").rglob("metadata.json")).parent)
    expected = collect_palettes(dataset.source("train"), kept.shape[1], seed=0)
    np.testing.assert_array_equal(kept, expected)
    np.testing.assert_array_equal(model.method.palettes, kept)


@pytest.fixture(scope="module")
def frames(folder):
    """Three frames of a clip; in batches of two, the last one is filled up."""
    arrays = {f"{index:04d}": random_frame(index) for index in range(3)}
    for name, frame in arrays.items():
        write_frame(folder / "drive", name, frame)
    return arrays


@pytest.mark.parametrize("video", [False, True])
def test_every_frame_or_every_clip_has_colors_of_its_own(workdir, folder, frames, video):
    output = folder / f"output_{video}"
    settings = job.Settings(
        workdir, folder / "drive", output, batch_size=2, num_variants=2, video=video
    )
    sampling = job.plan(settings)
    translation.translate_missing(sampling)
    model = sampling.model
    for variant, drawn in enumerate(sampling.variants):
        written = sorted((output / f"variant_{variant:02d}").rglob("*.png"))
        assert len(written) == 3
        for path, (name, frame) in zip(written, frames.items(), strict=True):
            style = model.method.styles(["drive" if video else name], variant)
            outputs = model.translate(frame["label"][None], frame["cg"][None], **drawn, **style)
            difference = np.abs(images.read_color(path).astype(int) - to_uint8(outputs["image"])[0])
            assert difference.max() <= 1


def test_the_video_stage_is_told_colors_too(workdir, folder):
    code, _, errors = run(
        "--config",
        "configs/streets_video.py:tiny",
        "--workdir",
        folder / "video",
        **PALETTE,
        **{"train.max_steps": 1, "data.data_dir": folder / "data", "init_from": workdir},
        **{"train.laplacian_epochs": 1.0},
    )
    assert code == 0, errors
    assert (folder / "video/palettes.npy").exists()
