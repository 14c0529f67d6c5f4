import json
import os

import cv2
import numpy as np
import pytest

from sflow_jax import sharding
from sflow_jax.data import images
from sflow_jax.errors import InputError
from sflow_jax.inference import restore_model
from sflow_jax.pictures import write_png
from sflow_jax.sampling import comparison, translation
from tests.processes import finish, start
from tests.sampling.runs import assert_same_picture, command, plan, pngs, run, translated
from tests.tiny_run import TABLE, random_frame, tiny_config, write_frame, write_run

SIZE, ODD_SIZE = (32, 40), (37, 51)


@pytest.fixture
def folder(tmp_path):
    """Five frames in two sequences and, in the first one, two sizes."""
    folder = tmp_path / "input"
    for index, size in enumerate([SIZE, ODD_SIZE, SIZE, SIZE]):
        write_frame(folder / "a", f"{index:02d}", random_frame(index, size))
    write_frame(folder / "deep/b", "00", random_frame(9))
    return folder


def test_every_frame_of_any_size_is_translated_under_its_own_name(model, workdir, folder, tmp_path):
    run(workdir, folder, tmp_path / "out")
    found = pngs(tmp_path / "out")
    assert sorted(found) == [*(f"a/{index:02d}.png" for index in range(4)), "deep/b/00.png"]
    for name, seed, size in (("a/00", 0, SIZE), ("a/01", 1, ODD_SIZE), ("deep/b/00", 9, SIZE)):
        assert_same_picture(found[f"{name}.png"], translated(model, random_frame(seed, size)))


def test_processes_share_the_frames_between_them(workdir, folder, tmp_path, monkeypatch):
    shares = []
    for index in range(2):
        monkeypatch.setattr(sharding, "share_of_host", lambda items, index=index: items[index::2])
        sampling = run(workdir, folder, tmp_path / "out")
        shares.append([frame.name for frame in sampling.own_frames])
        assert sampling.missing == []
    assert shares == [["a/00", "a/02", "deep/b/00"], ["a/01", "a/03"]]
    assert sorted(pngs(tmp_path / "out")) == sorted(
        f"{name}.png" for part in shares for name in part
    )


@pytest.mark.long
def test_two_processes_give_what_one_gives(workdir, folder, tmp_path):
    def sample(output, num_processes):
        ends = finish(
            start(
                "sflow_jax.sample",
                *("--workdir", workdir, "--input", folder, "--output", output, "--grid"),
                num_processes=num_processes,
            )
        )
        assert [status for status, *_ in ends] == [0] * num_processes, ends
        return pngs(output)

    alone, together = sample(tmp_path / "alone", 1), sample(tmp_path / "together", 2)
    assert together.keys() == alone.keys()
    for name, picture in alone.items():
        assert_same_picture(together[name], picture)


def test_a_single_group_goes_straight_to_the_output(workdir, folder, tmp_path):
    run(workdir, folder / "a", tmp_path / "out", limit=2)
    assert sorted(pngs(tmp_path / "out")) == ["00.png", "01.png"]


def test_without_a_seed_the_ensemble_is_the_plain_mean_as_in_training(model, workdir, tmp_path):
    write_frame(tmp_path / "in", "x", random_frame(0))
    run(workdir, tmp_path / "in", tmp_path / "out")
    expected = translated(model, random_frame(0), weights=None)
    assert_same_picture(pngs(tmp_path / "out")["x.png"], expected)


@pytest.mark.parametrize(
    ("edges", "removed", "expected"),
    [
        ("auto", None, "cg"),
        ("auto", "cg", "image"),
        ("image", None, "image"),
        ("none", None, None),
    ],
)
def test_edges_come_from_where_they_should(edges, removed, expected, model, workdir, tmp_path):
    arrays = random_frame(3)
    kept = {key: array for key, array in arrays.items() if key != removed}
    write_frame(tmp_path / "in", "x", kept)
    run(workdir, tmp_path / "in", tmp_path / "out", edges=edges)
    picture = pngs(tmp_path / "out")["x.png"]
    assert_same_picture(picture, translated(model, arrays, expected))
    record = json.loads((tmp_path / "out/sampling.json").read_text())
    assert record["edges"] == (expected or "none")


def test_variants_without_edges_are_refused(workdir, folder, tmp_path):
    with pytest.raises(InputError, match=r"--num_variants: found 2, expected 1 with --edges none"):
        run(workdir, folder, tmp_path / "out", edges="none", num_variants=2)


def test_variants_are_dirichlet_draws_held_for_all_frames(model, workdir, folder, tmp_path):
    sampling = run(workdir, folder / "a", tmp_path / "out", num_variants=3, limit=3)
    found = pngs(tmp_path / "out")
    assert len(found) == 9
    for variant in range(3):
        for index, size in ((0, SIZE), (1, ODD_SIZE)):
            expected = translated(
                model, random_frame(index, size), weights=sampling.variants[variant]["weights"]
            )
            assert_same_picture(found[f"variant_{variant:02d}/{index:02d}.png"], expected)
    difference = found["variant_00/00.png"].astype(int) - found["variant_01/00.png"]
    assert np.abs(difference).mean() > 1


def test_the_output_records_what_it_was_made_of(model, workdir, folder, tmp_path):
    sampling = run(workdir, folder, tmp_path / "out", seed=5)
    record = json.loads((tmp_path / "out/sampling.json").read_text())
    assert record["config"] == json.loads((workdir / "config.json").read_text())
    assert (record["checkpoint_step"], record["seed"], record["edges"]) == (4, 5, "cg")
    assert record["input"] == str(folder)
    (variant,), (recorded,) = sampling.variants, record["variants"]
    np.testing.assert_array_equal(np.float32(recorded["weights"]), variant["weights"])
    assert record["controls"] == {"share": 1.0}


def test_an_interrupted_run_continues_with_the_next_missing_frame(
    workdir, folder, tmp_path, monkeypatch
):
    run(workdir, folder, tmp_path / "whole")
    written = []

    def write(path, picture):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write_png(path, picture)

    monkeypatch.setattr(translation, "write_png", write)
    with pytest.raises(KeyboardInterrupt):
        run(workdir, folder, tmp_path / "out")
    monkeypatch.setattr(translation, "write_png", write_png)
    before = {path: path.stat().st_mtime_ns for path in written}
    run(workdir, folder, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in written} == before
    whole, continued = pngs(tmp_path / "whole"), pngs(tmp_path / "out")
    assert whole.keys() == continued.keys()
    for name, picture in whole.items():
        np.testing.assert_array_equal(continued[name], picture)


def test_a_frame_that_changed_is_translated_again(model, workdir, folder, tmp_path):
    run(workdir, folder / "a", tmp_path / "out")
    write_frame(folder / "a", "02", random_frame(50))
    now = (tmp_path / "out/02.png").stat().st_mtime_ns + 1_000_000
    os.utime(folder / "a/cg/02.png", ns=(now, now))
    run(workdir, folder / "a", tmp_path / "out")
    assert_same_picture(pngs(tmp_path / "out")["02.png"], translated(model, random_frame(50)))


def test_results_of_other_settings_are_not_mixed(workdir, folder, tmp_path):
    run(workdir, folder, tmp_path / "out", limit=1)
    with pytest.raises(InputError) as error:
        run(workdir, folder, tmp_path / "out", limit=1, seed=3, edges="image")
    assert str(error.value) == (
        f"{tmp_path}/out/sampling.json: found results of edges cg, not image; seed None, not 3; "
        "other variants; expected the same settings, or another --output"
    )
    run(workdir, folder, tmp_path / "out", limit=2)  # the same frames and more
    assert len(pngs(tmp_path / "out")) == 2


def test_frames_are_read_as_they_are_needed(workdir, tmp_path, monkeypatch):
    for index in range(24):
        write_frame(tmp_path / "in", f"{index:02d}", random_frame(index))
    sampling = plan(workdir, tmp_path / "in", tmp_path / "out")
    read, ahead = [], []

    def read_color(path):
        read.append(path)
        return original(path)

    def write(path, picture):
        ahead.append(len(read) - len(ahead))
        write_png(path, picture)

    original = images.read_color
    monkeypatch.setattr(images, "read_color", read_color)
    monkeypatch.setattr(translation, "write_png", write)
    translation.translate_missing(sampling)
    assert len(ahead) == 24
    assert max(ahead) <= 4  # two batches


def test_the_grid_has_label_edges_and_all_variants(model, workdir, folder, tmp_path):
    sampling = run(workdir, folder, tmp_path / "out", num_variants=2, grid=True)
    sheet = comparison.draw_grid(sampling)
    height, width = SIZE
    # label, CG frame, (edges, picture) of two variants, real; a gap of 2 and captions of 16 pixels.
    assert sheet.shape == (16 + 5 * (height + 2), 7 * (width + 2) - 2, 3)

    def cell(row, column):
        top, left = 16 + row * (height + 2), column * (width + 2)
        return sheet[top : top + height, left : left + width]

    found, arrays = pngs(tmp_path / "out"), random_frame(2)
    np.testing.assert_array_equal(cell(2, 0), TABLE.colorize(arrays["label"][..., 0]))
    np.testing.assert_array_equal(cell(2, 1), arrays["cg"])
    for variant in range(2):
        outputs = model.translate(
            arrays["label"][None], arrays["cg"][None], **sampling.variants[variant]
        )
        edge_map = np.rint(np.asarray(outputs["edge_map"][0]) * 255).repeat(3, -1)
        assert_same_picture(cell(2, 2 + 2 * variant), edge_map)
        assert_same_picture(cell(2, 3 + 2 * variant), found[f"variant_{variant:02d}/a/02.png"])
    np.testing.assert_array_equal(cell(2, 6), arrays["image"])


def test_a_run_in_its_first_stage_is_given_laplacian_edges(tmp_path):
    write_run(tmp_path / "run", tiny_config(), dned_share=0.0)
    write_frame(tmp_path / "in", "x", random_frame(0))
    sampling = run(tmp_path / "run", tmp_path / "in", tmp_path / "out")
    arrays = random_frame(0)
    outputs = sampling.model.translate(arrays["label"][None], arrays["cg"][None])
    np.testing.assert_array_equal(outputs["edge_map"], outputs["laplacian"])
    with pytest.raises(InputError, match=r"--num_variants: found 2, .* share of DNED 0"):
        plan(tmp_path / "run", tmp_path / "in", tmp_path / "other", num_variants=2)


def test_any_checkpoint_can_be_named(tmp_path):
    write_run(tmp_path / "run", tiny_config(), steps=(2, 4))
    assert restore_model(tmp_path / "run").step == 4
    assert restore_model(tmp_path / "run", 2).step == 2
    with pytest.raises(InputError, match=r"found steps \[2, 4\], expected step 3"):
        restore_model(tmp_path / "run", 3)


def damage_pixels(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def write_array(path, array):
    cv2.imwrite(str(path), array)


BAD_FRAMES = {
    "missing edges": (lambda a: (a / "cg/02.png").unlink(), "a/cg/02.png: not found, expected it"),
    "missing label": (lambda a: (a / "label/02.png").unlink(), "a/label/02.png: not found"),
    "other size": (
        lambda a: write_array(a / "cg/02.png", np.zeros((8, 9, 3), np.uint8)),
        "a/cg/02.png: found 9x8 pixels, expected 40x32 as in",
    ),
    "16-bit label": (
        lambda a: write_array(a / "label/02.png", np.zeros(SIZE, np.uint16)),
        "a/label/02.png: found a 40x32 gray PNG with 16 bits, expected one 8-bit class id",
    ),
    "RGB label": (
        lambda a: write_array(a / "label/02.png", np.zeros((*SIZE, 3), np.uint8)),
        "a/label/02.png: found a 40x32 RGB PNG with 8 bits, expected one 8-bit class id",
    ),
    "unknown id": (
        lambda a: write_array(a / "label/02.png", np.full(SIZE, 1, np.uint8)),
        "a/label/02.png: found label 1, expected only the 4 ids of the class table 'toy'",
    ),
    "truncated": (
        lambda a: (a / "cg/02.png").write_bytes((a / "cg/02.png").read_bytes()[:-30]),
        "a/cg/02.png: truncated PNG",
    ),
    "damaged": (lambda a: damage_pixels(a / "cg/02.png"), "a/cg/02.png: damaged PNG"),
    "no PNG": (lambda a: (a / "label/02.png").write_text("hello"), "a/label/02.png: "),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_a_bad_frame_is_named_before_anything_is_written(case, workdir, folder, tmp_path):
    damage, message = BAD_FRAMES[case]
    damage(folder / "a")
    with pytest.raises(InputError) as error:
        plan(workdir, folder, tmp_path / "out")
    assert str(error.value).startswith(f"{folder}/{message}")
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be_used_are_named(workdir, folder, tmp_path):
    def message(source, output=tmp_path / "out", **options):
        with pytest.raises(InputError) as error:
            plan(workdir, source, output, **options)
        return str(error.value).replace(f"{tmp_path}/", "")

    (tmp_path / "empty/label").mkdir(parents=True)
    (tmp_path / "lone/cg").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    write_frame(tmp_path / "labels", "x", {"label": random_frame(0)["label"]})
    write_frame(tmp_path / "taken", "grid", random_frame(0))
    assert message(tmp_path / "nowhere") == "nowhere: found nothing, expected a folder of frames"
    assert message(tmp_path / "file") == "file: found a file, expected a folder of frames"
    assert message(tmp_path / "empty", edges="none").startswith("empty/label: found no PNG files")
    assert message(tmp_path / "lone").startswith("lone/label: not found, expected the label maps")
    assert message(tmp_path / "labels").startswith("labels: found neither cg/ nor image/ next to")
    assert message(folder / "a/cg").startswith("input/a/cg: found no folder 'label'")
    assert message(tmp_path / "taken").startswith("taken/label/grid.png: found this name")
    assert message(folder, folder / "a/cg").startswith("input/a/cg: is part of the input")
    assert message(folder, tmp_path / "empty").startswith("empty: found no sampling.json, expected")
    assert message(folder, tmp_path / "file").startswith("file: found no sampling.json, expected")


def test_frames_that_the_networks_cannot_halve_are_named(workdir, tmp_path):
    write_frame(tmp_path / "in", "0", random_frame(0))
    write_frame(tmp_path / "in", "1", random_frame(1, (15, 40)))
    with pytest.raises(InputError) as error:
        plan(workdir, tmp_path / "in", tmp_path / "out")
    assert str(error.value) == (
        f"{tmp_path}/in/label/1.png: found 40x15 pixels, expected at least 16x16"
    )
    assert not (tmp_path / "out").exists()
    run(workdir, tmp_path / "in", tmp_path / "out", limit=1)
    write_frame(tmp_path / "smallest", "0", random_frame(0, (16, 16)))
    run(workdir, tmp_path / "smallest", tmp_path / "small")
    assert pngs(tmp_path / "small")["0.png"].shape == (16, 16, 3)


def test_the_bar_shows_frames_per_second_also_below_one(workdir, tmp_path, monkeypatch, capsys):
    class Clock:
        now = 1000.0

    def write(path, picture):
        Clock.now += 4.0
        write_png(path, picture)

    for index in range(4):
        write_frame(tmp_path / "in", str(index), random_frame(index))
    sampling = plan(workdir, tmp_path / "in", tmp_path / "out")
    monkeypatch.setattr("tqdm.std.time", lambda: Clock.now)
    monkeypatch.setattr(translation, "write_png", write)
    translation.translate_missing(sampling)
    shown = capsys.readouterr().err
    assert "0.25frame/s" in shown
    assert "s/frame" not in shown


def test_the_command_translates_with_a_progress_bar(workdir, folder, tmp_path):
    output = tmp_path / "out"
    folders = ["--workdir", workdir, "--input", folder, "--output", output]
    result = command(*folders, "--grid", "--limit", 1)
    assert result.returncode == 0, result.stderr
    assert sorted(pngs(output)) == ["a/00.png", "grid.png"]
    assert "1/1" in result.stderr
    assert "frame/s" in result.stderr
    assert result.stdout == f"{output}: 1 frames\n"


def test_a_mistake_is_one_line(tmp_path, folder):
    folders = ["--workdir", tmp_path, "--input", folder, "--output", tmp_path / "out"]
    result = command(*folders, "--fps", 10)
    assert result.returncode == 2
    assert result.stderr == "error: --fps: found 10 without --video, expected both or neither\n"
    result = command(*folders)
    assert result.returncode == 2
    assert result.stderr == (
        f"error: {tmp_path}/config.json: not found; expected the working directory of a training "
        "run\n"
    )
