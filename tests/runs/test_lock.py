import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from sflow_jax.errors import InputError, TrainingError
from sflow_jax.runs import lock
from tests.conftest import PROJECT_ROOT

_HOLD = (
    "import pathlib, sys, time\n"
    "from sflow_jax.runs.lock import hold\n"
    "with hold(pathlib.Path(sys.argv[1])):\n"
    "    print('held', flush=True)\n"
    "    time.sleep(60)\n"
)


@pytest.fixture
def holder(tmp_path):
    """Another process of this machine that holds the lock of `tmp_path / 'run'`."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, tmp_path / "run"],
        cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def write_lock(folder, **changes):
    """The lock of another process, by default of one on another machine, held a moment ago."""
    record = {
        "host": "far", "process": 7, "began": "1", "machine": "far", "time": "2026-01-02T03:04:05",
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    path = folder / lock.LOCK_FILE
    path.write_text(json.dumps(record | changes), encoding="utf-8")
    return path


def test_the_second_process_is_told_of_the_first(holder, tmp_path):
    record = json.loads((tmp_path / "run/.lock").read_text())
    assert record["process"] == holder.pid
    expected = (
        f"{tmp_path}/run: in use by process {holder.pid} on {os.uname().nodename} since "
        f"{record['time']}, expected one process at a time"
    )
    for take in (lock.refuse_if_held, lambda folder: lock.Lock(folder / ".lock").acquire()):
        with pytest.raises(InputError) as error:
            take(tmp_path / "run")
        assert str(error.value) == expected


def test_the_lock_of_a_dead_process_is_taken_over(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run/.lock").exists()
    with lock.hold(tmp_path / "run") as own:
        own.require()
        with pytest.raises(InputError, match=f"in use by process {os.getpid()} on"):
            lock.refuse_if_held(tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())


def test_a_number_that_another_process_has_now_is_not_taken_for_the_owner(tmp_path):
    with lock.hold(tmp_path):
        record = json.loads((tmp_path / ".lock").read_text())
    write_lock(tmp_path, **record | {"began": "1"})
    with lock.hold(tmp_path):
        pass


@pytest.mark.parametrize("seconds", [59, 61])
def test_a_process_elsewhere_is_dead_when_it_has_been_silent_for_long(tmp_path, seconds):
    path = write_lock(tmp_path)
    os.utime(path, (time.time() - seconds,) * 2)
    if seconds > 60:
        with lock.hold(tmp_path):
            return
    with pytest.raises(InputError) as error:
        lock.refuse_if_held(tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: in use by process 7 on far since 2026-01-02T03:04:05, expected one process "
        "at a time; if that machine is gone, the folder is free 60 s after its end"
    )


def test_the_owner_shows_again_and_again_that_it_is_alive(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_RENEWED_SECONDS", 0.01)
    with lock.hold(tmp_path):
        os.utime(tmp_path / ".lock", (1, 1))
        deadline = time.monotonic() + 10
        while (tmp_path / ".lock").stat().st_mtime == 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (tmp_path / ".lock").stat().st_mtime > 1


def test_a_folder_that_is_gone_or_taken_over_is_written_no_more(tmp_path):
    with lock.hold(tmp_path / "run") as own:
        own.require()
        write_lock(tmp_path / "run")
        with pytest.raises(TrainingError, match=r"taken over by process 7 on far since 2026-01-0"):
            own.require()
        (tmp_path / "run").rename(tmp_path / "moved")
        with pytest.raises(TrainingError, match=r"run: this run's \.lock is gone, expected the"):
            own.require()
    assert json.loads((tmp_path / "moved/.lock").read_text())["host"] == "far"  # not removed


def test_of_many_only_one_takes_over(tmp_path):
    """Also on a file system without links, where the file is created in another way."""
    write_lock(tmp_path, machine=lock._machine(), process=2**30)
    taken, refused, barrier = [], [], threading.Barrier(8)

    def take():
        own = lock.Lock(tmp_path / ".lock")
        own._record["began"] += f" {threading.get_ident()}"  # as if it were another process
        barrier.wait()
        try:
            own.acquire()
            taken.append(own)
        except InputError as error:
            refused.append(error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock, "_is_alive", lambda record, path: record["process"] != 2**30)
        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(taken), len(refused)) == (1, 7)
    taken[0].release()


def test_a_file_system_without_links_has_locks_too(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    with lock.hold(tmp_path) as own:
        own.require()
        with pytest.raises(InputError, match="in use by process"):
            lock.Lock(tmp_path / ".lock").acquire()
    assert not list(tmp_path.iterdir())


def test_a_living_lock_is_not_removed_in_the_place_of_a_dead_one(tmp_path):
    """Which another process saw before it was replaced."""
    with lock.hold(tmp_path) as own:
        lock._remove_dead(tmp_path / ".lock", {"process": 2**30})
        own.require()
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_one_that_was_killed_while_it_took_over_is_in_nobodys_way(tmp_path):
    write_lock(tmp_path, machine=lock._machine())
    (tmp_path / ".lock.guard").touch()
    os.utime(tmp_path / ".lock.guard", (1, 1))
    with lock.hold(tmp_path) as own:
        own.require()
    assert not list(tmp_path.iterdir())


def test_a_lock_that_is_released_while_it_is_looked_at_is_not_removed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "refuse_if_held", lambda *_: (tmp_path / ".lock").unlink())
    monkeypatch.setattr(lock, "_remove_dead", lambda *_: pytest.fail("it was removed"))
    write_lock(tmp_path)
    own = lock.Lock(tmp_path / ".lock")
    own.acquire()
    own.require()
    monkeypatch.undo()
    own.release()


def test_a_copy_of_a_folder_in_use_is_free(holder, tmp_path):
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    with lock.hold(tmp_path / "copy") as own:
        own.require()
    with pytest.raises(InputError, match=f"in use by process {holder.pid} on"):
        lock.refuse_if_held(tmp_path / "run")


def test_the_lock_of_a_version_that_recorded_no_inode_still_holds(holder, tmp_path):
    record = json.loads((tmp_path / "run/.lock").read_text())
    del record["inode"]
    (tmp_path / "run/.lock").write_text(json.dumps(record))
    with pytest.raises(InputError, match=f"in use by process {holder.pid} on"):
        lock.refuse_if_held(tmp_path / "run")


def test_a_link_that_leads_nowhere_is_no_lock(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "nowhere")
    with lock.hold(tmp_path) as own:
        own.require()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "[]", "{", '{"process": "x"}', 100_000 * "["])
def test_a_damaged_lock_is_nobodys_and_free_after_a_while(tmp_path, content):
    path = tmp_path / lock.LOCK_FILE
    path.write_text(content)
    with pytest.raises(InputError, match="in use by a process whose record is damaged, expected"):
        lock.refuse_if_held(tmp_path)
    os.utime(path, (1, 1))
    with lock.hold(tmp_path):
        pass
