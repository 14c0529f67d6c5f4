"""A lock of a run's folder: one process at a time writes to it.

The lock is a file that only one process can create, so that it works on file systems that know no
locks of their own. Its owner renews the time of its last change again and again, by which processes
on other machines know that it is alive; those on its own machine ask the system.
"""

import contextlib
import datetime
import json
import os
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from sflow_jax.errors import InputError, TrainingError

LOCK_FILE = ".lock"
_RENEWED_SECONDS = 10
_SILENT_SECONDS = 60  # after which the owner, on another machine, is taken for dead
_RETRY_SECONDS = 0.01


class Lock:
    """The lock that this process holds, from `hold`."""

    def __init__(self, path: pathlib.Path) -> None:
        """Takes nothing yet."""
        self._path = path
        self._record = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "began": _beginning(os.getpid()),
            "machine": _machine(),
            "inode": "",
            "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        self._released = threading.Event()

    def require(self) -> None:
        """Checks that the folder is still there and still this process's.

        Raises:
            TrainingError: it was removed or renamed, or, after this process was suspended for
                long, another one has taken it over.
        """
        found = _read(self._path)
        if found == self._record:
            return
        folder = self._path.parent
        if found is None:
            raise TrainingError(
                f"{folder}: this run's {self._path.name} is gone, expected the folder to stay "
                "where it was; nothing more is written"
            )
        raise TrainingError(f"{folder}: taken over by {_describe(found)}; nothing more is written")

    def acquire(self) -> None:
        """Creates the file, or takes over that of a dead process.

        Raises:
            InputError: a living process holds it.
            OSError: the folder cannot be written.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._record["inode"] = _identity(self._path.parent)
        while not self._create():
            found = refuse_if_held(self._path.parent, self._path.name)
            if found is not None:  # else it was released meanwhile
                _remove_dead(self._path, found)
        threading.Thread(target=self._renew, daemon=True).start()

    def release(self) -> None:
        """Removes the file, if it is still this process's."""
        self._released.set()
        if _read(self._path) == self._record:
            with contextlib.suppress(OSError):
                self._path.unlink()

    def _create(self) -> bool:
        """Whether the file could be created, with its content at once."""
        own = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex}")
        try:
            own.write_text(json.dumps(self._record), encoding="utf-8")
            os.link(own, self._path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            with contextlib.suppress(FileExistsError), self._path.open("x") as file:
                json.dump(self._record, file)
                return True
            return False
        finally:
            own.unlink(missing_ok=True)
        return True

    def _renew(self) -> None:
        while not self._released.wait(_RENEWED_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self._path)


@contextlib.contextmanager
def hold(folder: pathlib.Path, name: str = LOCK_FILE) -> Iterator[Lock]:
    """Holds the lock of a folder, which is made if it is missing.

    Args:
        folder: that of the run.
        name: of the lock's file.

    Raises:
        InputError: a living process holds it; names its host, number and time.
        OSError: the folder cannot be written.
    """
    lock = Lock(folder / name)
    lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


def refuse_if_held(folder: pathlib.Path, name: str = LOCK_FILE) -> dict[str, Any] | None:
    """Checks that no living process holds the lock of a folder; returns what a dead one has left.

    The lock in a copy of the folder, made while it was held, is as that of a dead one.

    Raises:
        InputError: one does; names its host, number and time.
    """
    path = folder / name
    found = _read(path)
    if found is None or not _is_alive(found, path):
        return found
    remote = found["machine"] != _machine()
    patience = (
        f"; if that machine is gone, the folder is free {_SILENT_SECONDS} s after its end"
        if remote
        else ""
    )
    raise InputError(
        f"{folder}: in use by {_describe(found)}, expected one process at a time{patience}"
    )


def _read(path: pathlib.Path) -> dict[str, Any] | None:
    """The record of a lock; None without one. Of a damaged file an empty one of nobody."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if not path.is_symlink():
            return None
        found = None
    except (OSError, ValueError, RecursionError):
        found = None
    fields = {"host": str, "process": int, "began": str, "machine": str, "time": str}
    if isinstance(found, dict) and all(isinstance(found.get(k), t) for k, t in fields.items()):
        return found
    return {name: kind() for name, kind in fields.items()}


def _is_alive(record: dict[str, Any], path: pathlib.Path) -> bool:
    if record["machine"] == _machine():
        is_copy = record.get("inode", "") not in ("", _identity(path.parent))
        return not is_copy and record["began"] == _beginning(record["process"])
    try:
        renewed = path.stat().st_mtime
    except FileNotFoundError:
        return False
    return _now(path) - renewed < _SILENT_SECONDS


def _remove_dead(path: pathlib.Path, record: dict[str, Any]) -> None:
    """Removes the lock of this record, and no other that has come in its place.

    One process at a time does, so that none comes between its look and the removal. Where another
    does it just now, nothing is removed.
    """
    guard = path.with_name(f"{path.name}.guard")
    try:
        guard.open("x").close()
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):
            if _now(path) - guard.stat().st_mtime > _SILENT_SECONDS:
                guard.unlink()  # of one that was killed meanwhile
        time.sleep(_RETRY_SECONDS)
        return
    try:
        if _read(path) == record:
            path.unlink(missing_ok=True)
    finally:
        guard.unlink(missing_ok=True)


def _describe(record: dict[str, Any]) -> str:
    if not record["process"]:
        return "a process whose record is damaged"
    return f"process {record['process']} on {record['host']} since {record['time']}"


def _beginning(process: int) -> str:
    """When a process of this machine began, in the system's own count; '' if there is none.

    Numbers of processes are used again; together with this they are not.
    """
    try:
        status = pathlib.Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return "" if pathlib.Path("/proc/self/stat").exists() else _without_proc(process)
    fields = status.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]  # a zombie is dead


def _without_proc(process: int) -> str:
    """The same where the system, such as macOS, does not say when a process began."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "unknown"


def _identity(folder: pathlib.Path) -> str:
    """Differs between a folder and its copies on one machine; '' if it is gone."""
    try:
        status = folder.stat()
    except OSError:
        return ""
    return f"{status.st_dev}:{status.st_ino}"


def _machine() -> str:
    """Differs where processes cannot see each other: machines, their starts, containers."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _now(path: pathlib.Path) -> float:
    """The time by the clock of the file system, which another machine's may differ from."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex}.time")
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
