import functools
import json
import os
import shutil
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sflow_jax.data import images
from sflow_jax.errors import InputError
from sflow_jax.evaluate import FOLDERS_ONLY, RUN_ONLY, asks_for_folders
from sflow_jax.evaluation import folders, image_folders
from sflow_jax.metrics import fid
from sflow_jax.metrics.feature_statistics import FeatureExtractor, collect
from sflow_jax.metrics.inception_input import PROTOCOLS
from tests.recorded_reads import record_reads

BATCH_SIZE = 8
FOLDERS = ("real", "fake")


def write_images(folder, count, seed=0, size=(6, 10)):
    """Noise, half of it in a folder below."""
    random = np.random.RandomState(seed)
    (folder / "b").mkdir(parents=True)
    for index in range(count):
        content = images.encode_png(random.randint(0, 256, (*size, 3)).astype(np.uint8))
        (folder / ("b" if index % 2 else "") / f"{index:03}.png").write_bytes(content)
    return folder


def mean_of_corners(variables, prepared):
    """Six features of an image: the colors of two corners."""
    corners = [prepared[:, :20, :20].mean((1, 2)), prepared[:, -20:, -20:].mean((1, 2))]
    return jnp.concatenate(corners, -1) * variables


def make_stub(protocol="pytorch-fid", cache_dir=None, scale=1):
    variables = np.full(6, scale, np.float32)
    return FeatureExtractor(mean_of_corners, variables, PROTOCOLS[protocol], BATCH_SIZE)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder with the weights of a network that is no Inception, but fast."""
    monkeypatch.setattr(fid, "inception_extractor", make_stub)
    return tmp_path / "cache"


@pytest.fixture
def read_files(monkeypatch):
    """The files that are decoded from now on."""
    return record_reads(monkeypatch, image_folders)


def refuse(*_):
    raise AssertionError("nothing may be computed")


def test_scores_are_those_of_all_images_whatever_the_batches(tmp_path, cache):
    real = write_images(tmp_path / "real", 2 * BATCH_SIZE + 3)
    fake = write_images(tmp_path / "fake", 11, seed=1, size=(8, 8))  # of another size
    record = image_folders.compare_images(real, fake, cache_dir=cache)
    extractor = make_stub()
    statistics = []
    for folder in (real, fake):
        paths = sorted([*folder.glob("*.png"), *folder.glob("b/*.png")])
        at_once = np.stack([images.read_color(path) for path in paths])
        statistics.append(collect(extractor.stream([at_once]), 100))
    expected = fid.scores(*statistics)
    assert set(expected) == {"fid", "kid", "kid_std", "precision", "recall"}
    assert record["scores"] == pytest.approx(expected, rel=1e-6)
    assert record["scores"]["fid"] > 1e-3
    assert (record["num_real"], record["num_fake"]) == (19, 11)


def test_a_tree_that_sampling_reads_and_one_that_it_writes_are_their_images(tmp_path):
    source, output = tmp_path / "scenes", tmp_path / "samples"
    for kind in ("image", "label", "cg"):
        write_images(source / "a" / kind, 2)
    write_images(output, 3)
    (output / "grid.png").write_bytes(images.encode_png(np.zeros((90, 90, 3), np.uint8)))
    found = image_folders.find_images("real", source)
    assert {path.relative_to(source).parts[:2] for path in found.paths} == {("a", "image")}
    assert len(found.paths) == 2
    written = image_folders.find_images("fake", output)
    written.check()
    assert len(written.paths) == 3


def test_other_formats_are_not_left_out_in_silence(tmp_path, capsys):
    folder = write_images(tmp_path / "real", 4)
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / "b/photo.JPG")
    (folder / "b/photo.heic").touch()
    (folder / "b/._photo.png").touch()
    found = image_folders.find_images("real", folder)
    assert len(found.paths) == 5
    assert folder / "b/photo.JPG" in found.paths
    note = capsys.readouterr().err
    assert note.startswith(f"note: {folder}: 1 file is not read (1 .heic), such as {folder}/b/ph")


def test_identical_folders_have_no_distance(tmp_path, cache):
    real, fake = (write_images(tmp_path / name, 12) for name in FOLDERS)
    scores = image_folders.compare_images(real, fake, cache_dir=cache)["scores"]
    assert scores["fid"] == pytest.approx(0, abs=1e-9)
    assert (scores["precision"], scores["recall"]) == (1, 1)
    assert scores["kid"] <= 0  # unbiased: an image is not compared with itself within a set only


def test_the_real_folder_is_read_once_until_something_changes(tmp_path, cache, read_files):
    real = write_images(tmp_path / "real", 9)
    fake = write_images(tmp_path / "fake", 5, seed=1)
    first = image_folders.compare_images(real, fake, cache_dir=cache)
    assert [len([path for path in read_files if real in path.parents]), len(read_files)] == [9, 14]
    read_files.clear()
    assert image_folders.compare_images(real, fake, cache_dir=cache) == first
    assert len(read_files) == 5
    assert not any(real in path.parents for path in read_files)

    read_files.clear()
    other = image_folders.compare_images(real, fake, "torch-fidelity", cache)
    assert len(read_files) == 14
    assert not other["scores"].keys() & first["scores"].keys()

    read_files.clear()
    os.utime(real / "000.png", ns=(1, 1))
    assert image_folders.compare_images(real, fake, cache_dir=cache) == first
    assert len(read_files) == 14


def test_other_weights_have_other_statistics(tmp_path, cache, read_files, monkeypatch):
    real, fake = (write_images(tmp_path / name, 4) for name in FOLDERS)
    image_folders.compare_images(real, fake, cache_dir=cache)
    monkeypatch.setattr(fid, "inception_extractor", functools.partial(make_stub, scale=2))
    read_files.clear()
    image_folders.compare_images(real, fake, cache_dir=cache)
    assert len(read_files) == 8


def test_no_more_than_a_batch_is_in_memory(tmp_path, read_files):
    found = image_folders.find_images("real", write_images(tmp_path / "real", 20))
    lengths = []
    for batch in found.batches(BATCH_SIZE):
        lengths.append(len(batch))
        assert len(read_files) == sum(lengths)  # nothing is read ahead
    assert lengths == [8, 8, 4]


def test_hosts_share_the_images(tmp_path, read_files, monkeypatch):
    found = image_folders.find_images("real", write_images(tmp_path / "real", 5))
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    for host in range(2):
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        list(found.batches(2))
        assert len(read_files) == (3, 5)[host]
    assert sorted(read_files) == found.paths


def test_results_are_written_and_say_what_they_are(tmp_path, cache, capsys):
    real = write_images(tmp_path / "real", 6)
    fake = write_images(tmp_path / "fake", 5, seed=1)
    record = image_folders.compare_images(real, fake, "clean-fid", cache)
    assert "real: 100%" in (progress := capsys.readouterr().err)
    assert "fake: 100%" in progress
    folders.write_scores(tmp_path / "out/scores", record, image_folders.format_image_report(record))
    assert json.loads((tmp_path / "out/scores/metrics.json").read_text()) == record
    table = (tmp_path / "out/scores/scores.txt").read_text()
    assert f"real: 6 images in {real}" in table
    assert f"fake: 5 images in {fake}" in table
    assert "protocol clean-fid" in table
    numbers = dict(line.split() for line in table.split("\n\n")[1].splitlines())
    assert numbers["fid_clean"] == f"{record['scores']['fid_clean']:.6f}"
    assert numbers.keys() == record["scores"].keys()


def test_two_images_have_fid_only(tmp_path, cache):
    real = write_images(tmp_path / "real", 9)
    fake = write_images(tmp_path / "fake", 2, seed=1)
    record = image_folders.compare_images(real, fake, cache_dir=cache)
    assert set(record["scores"]) == {"fid"}
    assert "No KID, precision and recall: they need 4 images" in image_folders.format_image_report(
        record
    )


def test_rounding_errors_have_no_sign():
    record = dict.fromkeys(("num_real", "num_fake"), 9) | dict.fromkeys(FOLDERS, "folder")
    record |= {"protocol": "pytorch-fid", "scores": {"fid": -1e-9, "kid": -0.25}}
    assert image_folders.format_image_report(record).endswith(
        "fid      0.000000\nkid     -0.250000\n"
    )


@pytest.mark.parametrize(
    ("count", "message"),
    [(0, "no image, expected at least 2; videos"), (1, "1 image, expected at least 2$")],
)
@pytest.mark.parametrize("empty", FOLDERS)
def test_a_folder_needs_two_images(tmp_path, monkeypatch, count, message, empty):
    monkeypatch.setattr(fid, "inception_extractor", refuse)
    pair = [write_images(tmp_path / name, count if name == empty else 4) for name in FOLDERS]
    with pytest.raises(InputError, match=f"{empty}: found {message}"):
        image_folders.compare_images(*pair)


@pytest.mark.parametrize("wrong", FOLDERS)
def test_what_is_no_folder_is_refused(tmp_path, wrong):
    pair = [tmp_path / name for name in FOLDERS]
    for folder in pair:
        if folder.name != wrong:
            write_images(folder, 2)
    message = f"{wrong}: found {{}}, expected a folder of {wrong} images$"
    with pytest.raises(InputError, match=message.format("nothing")):
        image_folders.compare_images(*pair)
    (tmp_path / wrong).write_bytes(b"")
    with pytest.raises(InputError, match=message.format("a file")):
        image_folders.compare_images(*pair)


@pytest.mark.parametrize("wrong", FOLDERS)
def test_a_broken_png_is_named_before_anything_is_computed(tmp_path, cache, wrong, monkeypatch):
    pair = [write_images(tmp_path / name, 5) for name in FOLDERS]
    if wrong == "fake":  # the real images may take hours
        monkeypatch.setattr(folders, "cached", refuse)
    path = tmp_path / wrong / "b/003.png"
    content = path.read_bytes()
    path.write_bytes(content[:-20])
    with pytest.raises(InputError, match=r"003\.png: truncated PNG"):
        image_folders.compare_images(*pair, cache_dir=cache)
    path.write_bytes(b"GIF89a" + content)
    with pytest.raises(InputError, match=r"003\.png: cannot identify .*; expected a pic"):
        image_folders.compare_images(*pair, cache_dir=cache)


def test_damaged_pixels_are_no_scores(tmp_path, cache):
    pair = [write_images(tmp_path / name, 5) for name in FOLDERS]
    path = tmp_path / "fake/002.png"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"002\.png: damaged PNG \(a checksum is wrong\)"):
        image_folders.compare_images(*pair, cache_dir=cache)


@pytest.mark.parametrize("wrong", FOLDERS)
def test_an_image_of_another_size_is_named(tmp_path, cache, wrong, read_files):
    pair = [write_images(tmp_path / name, 4) for name in FOLDERS]
    path = tmp_path / wrong / "b/003.png"
    path.write_bytes(images.encode_png(np.zeros((7, 10, 3), np.uint8)))
    message = rf"003\.png: found 10x7 pixels, expected 10x6 as in .*{wrong}/000\.png$"
    with pytest.raises(InputError, match=message):
        image_folders.compare_images(*pair, cache_dir=cache)
    assert not read_files


def test_a_file_that_has_gone_is_named(tmp_path):
    folder = write_images(tmp_path / "real", 3)
    (folder / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"link\.png: No such file.*; expected a file$"):
        image_folders.find_images("real", folder).state()


def test_folders_that_cannot_be_written_are_named(tmp_path, cache, capsys):
    pair = [write_images(tmp_path / name, 4) for name in FOLDERS]
    scores = image_folders.compare_images(*pair, cache_dir=cache)["scores"]
    shutil.rmtree(cache, ignore_errors=True)
    cache.write_bytes(b"")
    capsys.readouterr()
    assert image_folders.compare_images(*pair, cache_dir=cache)["scores"] == scores
    assert "note: statistics of the real images are not kept: " in capsys.readouterr().err
    with pytest.raises(InputError, match=r"cache: .*; expected a folder with room to write$"):
        folders.write_scores(cache, {"num_real": 4}, "")


def options(**given):
    names = (*RUN_ONLY, *FOLDERS_ONLY, "real", "fake", "protocol", "distributed")
    return types.SimpleNamespace(**dict.fromkeys(names) | given)


def test_a_run_or_two_folders_are_scored():
    assert not asks_for_folders(options(workdir="run", step=0))
    assert not asks_for_folders(options(workdir="run", diversity=True, edges=False))
    assert asks_for_folders(options(real="a", fake="b", protocol="clean-fid"))
    assert asks_for_folders(options(real="a", fake="b", videos=True, clip_frames=9))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "found no --workdir, expected it, or --real and --fake together"),
        ({"real": "a"}, "found --real alone, expected --fake beside it"),
        ({"workdir": "run", "fake": "b"}, "found --fake alone, expected --real beside it"),
        ({"workdir": "run", "real": "a", "fake": "b"}, "found --workdir beside --real and --fake"),
        ({"metrics": ["fid"], "real": "a", "fake": "b"}, "found --metrics beside --real"),
        ({"step": 0, "real": "a", "fake": "b"}, "found --step beside --real and --fake"),
        ({"workdir": "run", "videos": True}, "found --videos, expected --real and --fake too"),
        ({"real": "a", "fake": "b", "clip_frames": 9}, "found --clip_frames, expected --videos"),
        ({"workdir": "run", "num_steps": 9}, "found --num_steps without --downstream"),
        ({"workdir": "run", "downstream": True, "limit": 9}, "found --limit beside --downstream"),
        ({"workdir": "run", "num_variants": 3}, "found --num_variants without --diversity"),
        (
            {"workdir": "run", "diversity": True, "protocol": "clean-fid"},
            "found --protocol beside --diversity",
        ),
        (
            {"workdir": "run", "edges": True, "distributed": True},
            "found --distributed beside --edges",
        ),
        (
            {"workdir": "run", "downstream": True, "protocol": "clean-fid"},
            "found --protocol beside --downstream",
        ),
        ({"workdir": "run", "scenes": "a"}, "found --scenes without --downstream"),
        (
            {"workdir": "run", "edges": True, "downstream": True},
            "found --edges beside --downstream",
        ),
        ({"workdir": "run", "edges": True, "diversity": True}, "found --edges beside --diversity"),
        (
            {"real": "a", "fake": "b", "videos": True, "protocol": "clean-fid"},
            "found --protocol beside --videos, expected it for images",
        ),
    ],
)
def test_half_a_command_is_refused(given, message):
    with pytest.raises(InputError, match=f"^command line: {message}"):
        asks_for_folders(options(**given))


def test_without_the_weights_the_command_that_gets_them_is_all_there_is(tmp_path):
    pair = [write_images(tmp_path / name, 4) for name in FOLDERS]
    arguments = ["--real", *pair[:1], "--fake", *pair[1:], "--output", tmp_path / "out"]
    command = [sys.executable, "-m", "sflow_jax.evaluate", *map(str, arguments)]
    environment = os.environ | {"SFLOW_CACHE": str(tmp_path / "cache")}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 2
    assert result.stderr.endswith(
        "the weights of inception_v3 are not there; "
        "get them with: python -m sflow_jax.pretrained.weights get inception_v3\n"
    )
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "cache").exists()
