"""Sampling with the baselines: what they need of a frame, and what varies."""

import json

import numpy as np
import pytest

from configs.baselines import pix2pix, pix2pixhd, vid2vid
from sflow_jax.data import images
from sflow_jax.errors import InputError
from sflow_jax.prepare import prepare
from sflow_jax.sampling.comparison import draw_grid
from tests.sampling.runs import assert_same_picture, plan, pngs, run
from tests.tiny_run import TABLE, random_frame, restore_fast, write_frame, write_run


def tiny(config, **changes):
    config.generator.width = config.discriminator.width = 2
    config.generator.num_blocks = 1
    config.generator.num_downsamplings = 5
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("baselines")
    write_run(folder / "pix2pix", tiny(pix2pix.get_config("streets")))
    hd = tiny(pix2pixhd.get_config("streets"), **{"generator.num_downsamplings": 2})
    write_run(folder / "pix2pixhd", hd)
    sequential = tiny(vid2vid.get_config("streets"), **{"generator.num_downsamplings": 1})
    sequential.loss.perceptual_weight = 0.0
    write_run(folder / "vid2vid", sequential)
    return folder


def frame_with_instances(seed):
    frame = random_frame(seed)
    columns = np.arange(frame["label"].shape[1], dtype=np.uint16)[:, None] // 9
    return frame | {"instance": frame["label"].astype(np.uint16) * 1000 + columns}


def write_frame_with_instances(folder, name, seed):
    frame = frame_with_instances(seed)
    write_frame(folder, name, {key: frame[key] for key in ("label", "image", "cg")})
    path = folder / "instance" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(images.encode_png(frame["instance"]))


def test_boundaries_of_instances_reach_the_generator(runs, tmp_path):
    for seed in range(3):
        write_frame_with_instances(tmp_path / "in", f"{seed:02d}", seed)
    sampling = run(runs / "pix2pixhd", tmp_path / "in", tmp_path / "out", grid=True)
    model, found = restore_fast(runs / "pix2pixhd"), pngs(tmp_path / "out")
    frame = frame_with_instances(2)
    inputs = {key: frame[key][None] for key in ("label", "cg", "instance")}
    expected = model.translate(inputs["label"], inputs["cg"], instance=inputs["instance"])
    assert_same_picture(found["02.png"], np.asarray(expected["picture"])[0])
    other = model.translate(inputs["label"], inputs["cg"], instance=0 * inputs["instance"])
    assert np.any(np.asarray(other["picture"])[0] != found["02.png"])
    height, width = frame["label"].shape[:2]  # columns: label, CG frame, picture, real image
    assert draw_grid(sampling).shape == (16 + 3 * (height + 2), 4 * (width + 2) - 2, 3)


def test_a_frame_without_instances_is_named_before_any_work(runs, tmp_path):
    write_frame_with_instances(tmp_path / "in", "00", 0)
    (tmp_path / "in/instance/00.png").unlink()
    with pytest.raises(InputError, match=r"instance/00\.png: not found"):
        plan(runs / "pix2pixhd", tmp_path / "in", tmp_path / "out")
    images_of_colors = images.encode_png(random_frame(0)["cg"])
    (tmp_path / "in/instance/00.png").write_bytes(images_of_colors)
    with pytest.raises(InputError, match=r"instance/00\.png: .* expected a gray PNG"):
        plan(runs / "pix2pixhd", tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_variants_of_pix2pix_differ_in_noise_that_a_clip_keeps(runs, tmp_path):
    frame = random_frame(0)
    for name in ("00", "01"):
        write_frame(tmp_path / "in/clip", name, frame)
    run(runs / "pix2pix", tmp_path / "in", tmp_path / "out", num_variants=2, video=True)
    found = pngs(tmp_path / "out")
    by_variant = [
        [picture for path, picture in sorted(found.items()) if path.startswith(f"variant_{k:02d}/")]
        for k in range(2)
    ]
    for first, second in by_variant:
        np.testing.assert_array_equal(first, second)
    assert np.any(by_variant[0][0] != by_variant[1][0])


def test_looks_of_instances_are_learned_at_the_first_use_and_kept(tmp_path):
    """From the training images, of which a later use needs none."""
    source, config = tmp_path / "source", tiny(pix2pixhd.get_config("streets"))
    for split, seeds in (("train", (5, 6)), ("test", (7,))):
        for seed in seeds:
            write_frame_with_instances(source / split / "a", f"{seed:02d}", seed)
    (source / "classes.json").write_text(TABLE.to_json())
    config.update_from_flattened_dict(
        {
            "generator.num_downsamplings": 2,
            "pix2pixhd.num_features": 3,
            "data.dataset": "folder",
            "data.source": str(source),
            "data.data_dir": str(tmp_path / "data"),
            "data.height": 32,
            "data.width": 40,
        }
    )
    prepared = prepare(config.data)
    workdir = tmp_path / "run"
    write_run(workdir, config)
    write_frame_with_instances(tmp_path / "in", "00", 0)
    with pytest.raises(InputError, match="no-dataset: not found, expected the prepared dataset"):
        plan(workdir, tmp_path / "in", tmp_path / "out")
    record = json.loads((workdir / "run.json").read_text())
    (workdir / "run.json").write_text(json.dumps(record | {"dataset": str(prepared.directory)}))
    run(workdir, tmp_path / "in", tmp_path / "out", num_variants=2)
    found = pngs(tmp_path / "out")
    assert np.any(found["variant_00/00.png"] != found["variant_01/00.png"])

    (workdir / "run.json").write_text(json.dumps(record))
    run(workdir, tmp_path / "in", tmp_path / "again", num_variants=2)
    for name, picture in pngs(tmp_path / "again").items():
        np.testing.assert_array_equal(picture, found[name])
    (workdir / "learned/4.npz").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"learned/4\.npz: found"):
        plan(workdir, tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("video", [False, True])
def test_a_method_that_remembers_goes_through_each_clip_by_itself(runs, tmp_path, video):
    seeds = {"a": (0, 1, 2), "b": (3, 4)}
    for clip, numbers in seeds.items():
        for index, seed in enumerate(numbers):
            write_frame_with_instances(tmp_path / "in" / clip, f"{index:02d}", seed)
    run(runs / "vid2vid", tmp_path / "in", tmp_path / "out", video=video)
    found = pngs(tmp_path / "out")
    model = restore_fast(runs / "vid2vid")
    pattern = "{}/frames/{:06d}.png" if video else "{}/{:02d}.png"
    for clip, numbers in seeds.items():
        recalled = {}
        for index, seed in enumerate(numbers):
            frame = {key: array[None] for key, array in frame_with_instances(seed).items()}
            outputs = model.translate(
                frame["label"], frame["cg"], instance=frame["instance"], **recalled
            )
            recalled = model.method.recalled(outputs)
            expected = np.asarray(outputs["picture"])[0]
            assert_same_picture(found[pattern.format(clip, index)], expected)
    alone = model.translate(frame["label"], frame["cg"], instance=frame["instance"])
    assert np.any(np.asarray(alone["picture"])[0] != expected)  # of the last frame

    missing = tmp_path / "out" / pattern.format("a", 2)
    missing.unlink()
    whole = tmp_path / "out" / pattern.format("b", 0)
    written = whole.stat().st_mtime_ns
    run(runs / "vid2vid", tmp_path / "in", tmp_path / "out", video=video)
    assert whole.stat().st_mtime_ns == written
    for name, picture in pngs(tmp_path / "out").items():
        np.testing.assert_array_equal(picture, found[name])
