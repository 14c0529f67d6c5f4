"""Files appear whole or not at all, and errors of paths name them."""

import json
import pathlib

import pytest

from sflow_jax import files
from sflow_jax.errors import InputError, writing_to


def interrupt(monkeypatch):
    """Ends the next writing of bytes half-way, as a kill or a full disk would."""
    write = pathlib.Path.write_bytes

    def write_half(path, content):
        write(path, content[: len(content) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(pathlib.Path, "write_bytes", write_half)


def test_an_interrupted_file_keeps_its_former_content(tmp_path, monkeypatch):
    path = tmp_path / "folder/scores.json"
    files.write_json(path, {"seed": 1})
    interrupt(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        files.write_json(path, {"seed": 2, "scores": [1, 2, 3]})
    assert files.read_json(path, "a test") == {"seed": 1}


def test_an_interrupted_new_file_does_not_appear(tmp_path, monkeypatch):
    interrupt(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        files.write_whole(tmp_path / "scores.txt", "table\n")
    assert not (tmp_path / "scores.txt").exists()


def test_two_processes_that_write_one_file_do_not_disturb_each_other(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    write = pathlib.Path.write_bytes

    def write_while_another_does(part, content):
        monkeypatch.setattr(pathlib.Path, "write_bytes", write)
        write(part, content)
        with monkeypatch.context() as other:
            other.setattr("os.getpid", lambda: 1)
            files.write_whole(path, "theirs")

    monkeypatch.setattr(pathlib.Path, "write_bytes", write_while_another_does)
    files.write_whole(path, "ours")
    assert path.read_text() == "ours"
    assert list(tmp_path.iterdir()) == [path]


def test_json_that_would_not_be_json_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="Out of range float values"):
        files.write_json(tmp_path / "a.json", {"score": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b'"\xff"'])
def test_damaged_json_names_the_file_and_what_wrote_it(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json: .*; expected the JSON that training wrote$"):
        files.read_json(path, "training")


def test_missing_json_names_the_file_and_what_would_have_written_it(tmp_path):
    with pytest.raises(InputError, match=r"a\.json: not found; expected what training wrote$"):
        files.read_json(tmp_path / "a.json", "training")


def test_json_is_utf_8_and_ends_with_a_line_break(tmp_path):
    files.write_json(tmp_path / "a.json", {"folder": "Größe"})
    text = (tmp_path / "a.json").read_bytes().decode("utf-8")
    assert text.endswith("}\n")
    assert json.loads(text) == {"folder": "Größe"}


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    folder = tmp_path / "file/out"
    with pytest.raises(InputError) as error, writing_to(folder):
        files.write_whole(folder / "a.txt", "")
    assert str(error.value).startswith(f"{folder}: ")
    assert str(error.value).endswith("; expected a folder with room to write")


def test_other_errors_pass_through():
    with pytest.raises(InputError, match=r"^config\.seed$"), writing_to("out"):
        raise InputError("config.seed")


def test_a_user_without_a_home_is_told_so(monkeypatch):
    def no_home(path):
        raise RuntimeError("Could not determine home directory.")

    assert files.user_path("/a/~") == pathlib.Path("/a/~")
    monkeypatch.setattr(pathlib.Path, "expanduser", no_home)
    with pytest.raises(InputError, match=r"^~/x: found no home directory, expected \$HOME or"):
        files.user_path("~/x")


def test_a_folder_that_should_be_there(tmp_path):
    files.require_folder(tmp_path, "a folder")
    (tmp_path / "file").touch()
    for name, found in (("file", "a file"), ("none", "nothing")):
        with pytest.raises(InputError, match=rf"{name}: found {found}, expected a folder of x$"):
            files.require_folder(tmp_path / name, "a folder of x")


def test_a_folder_for_results_is_new_or_empty(tmp_path):
    files.require_new_folder(tmp_path)
    files.require_new_folder(tmp_path / "none")
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(InputError, match=r"already exists, expected a new or empty folder$"):
            files.require_new_folder(path)


@pytest.mark.parametrize("path", ["gs://bucket/run", "s3://b", "https://host/x", "gs:/bucket/run"])
def test_a_url_is_no_path(path):
    for given in (path, pathlib.Path(path)):
        with pytest.raises(InputError, match=r"found a URL, expected a path on this machine"):
            files.user_path(given)


@pytest.mark.parametrize("path", ["runs/a:b", "C:/runs", "a/gs://b", "gs"])
def test_a_colon_makes_no_url(path):
    assert str(files.user_path(path)) == str(pathlib.Path(path))
