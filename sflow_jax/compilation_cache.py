"""Compiled functions on disk, so that a command that starts again need not compile again."""

import hashlib
import os
import pathlib
import platform
import re
import stat
import sys
import warnings

import jax
import jaxlib

from sflow_jax.errors import InputError
from sflow_jax.files import user_path

_LEAST_SECONDS = 0.2  # of compiling; what is faster is not kept
_UNREADABLE = re.compile("Error reading persistent compilation cache entry for '(?P<function>.+?)'")


def use() -> None:
    """Keeps what JAX compiles in the user's own cache folder from now on.

    What is in it is executed unseen. So it is not in a run's folder, which is copied from person to
    person, nor in one that others may write: it is `sflow_jax/compiled` in $XDG_CACHE_HOME, or in
    ~/.cache, and belongs to the user alone. There is a part for each version of JAX and each kind
    of processor: XLA compiles for the processor that it runs on, but tells processors apart by no
    more than a warning, and code of another machine could end this one's process.

    JAX's own setting goes first: `JAX_COMPILATION_CACHE_DIR`, or
    `JAX_ENABLE_COMPILATION_CACHE=false` for none. A folder that is not private, or cannot be made,
    is not used, and a note says so.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    if not jax.config.values["jax_enable_compilation_cache"]:
        return
    try:
        folder = user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "sflow_jax/compiled"
        _make_private(folder)
    except (InputError, OSError) as error:
        print(f"note: {error}; compiled functions are not kept", file=sys.stderr)
        return
    entries = folder / f"jax-{jax.__version__}-{jaxlib.__version__}-{processor_digest()}"
    jax.config.update("jax_compilation_cache_dir", str(entries))
    # XLA's own caches, of a GPU only, would make the path a part of every key.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    _replace_unreadable(entries)


def _make_private(folder: pathlib.Path) -> None:
    """Makes a folder that only this user can enter.

    Raises:
        OSError: it cannot be made.
        InputError: it is there and is no folder, a link, or somebody else's or open to others.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=stat.S_IRWXU, exist_ok=True)
    found = folder.lstat()  # not of what a link leads to, which others may choose
    permissions = stat.S_IMODE(found.st_mode)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or permissions & 0o077:
        raise InputError(
            f"{folder}: found {stat.filemode(found.st_mode)} of user {found.st_uid}, "
            f"expected drwx------ of user {os.geteuid()}"
        )
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise InputError(f"{folder}: cannot be written")


def _replace_unreadable(entries: pathlib.Path) -> None:
    """Deletes what JAX warns that it cannot read, such as what a full disk has cut off.

    JAX compiles such a function but keeps the file as it is: each later start would compile again.
    """
    show = warnings.showwarning

    def show_or_replace(message, category, *place, **options):
        if not (found := _UNREADABLE.match(str(message))):
            return show(message, category, *place, **options)
        for entry in entries.glob(f"{found['function']}-*"):
            entry.unlink(missing_ok=True)
        print(f"{entries}: {found['function']} was damaged and is compiled again", file=sys.stderr)

    warnings.showwarning = show_or_replace


def processor_digest() -> str:
    """Eight hexadecimal digits that differ between processors with different instructions."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []  # not on Linux
    # x86 lists its instructions as flags, ARM as Features.
    found = {line for line in lines if line.startswith(("flags", "Features", "model name"))}
    description = "\n".join([platform.machine(), platform.processor(), *sorted(found)])
    return hashlib.sha256(description.encode()).hexdigest()[:8]
