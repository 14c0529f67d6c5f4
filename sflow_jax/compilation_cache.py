"""Compiled functions on disk, so that a command that starts again need not compile again."""

import hashlib
import os
import pathlib
import platform
import re
import sys
import warnings

import jax

from sflow_jax.files import nearest_existing

COMPILED_FOLDER = "compiled"
_LEAST_SECONDS = 0.2  # of compiling; what is faster is not kept
_UNREADABLE = re.compile("Error reading persistent compilation cache entry for '(?P<function>.+?)'")


def use(folder: pathlib.Path) -> None:
    """Keeps what JAX compiles in `folder/compiled` from now on, a part for each kind of processor.

    XLA compiles for the processor that it runs on, but tells processors apart by no more than a
    warning: code of another machine that shares the folder could end this one's process.

    JAX's own setting goes first: `JAX_COMPILATION_CACHE_DIR`, or
    `JAX_ENABLE_COMPILATION_CACHE=false` for none. A folder that cannot be written is not used,
    and a note says so.
    """
    # JAX does not declare the types of its options.
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    parent = nearest_existing(folder)
    if not (parent.is_dir() and os.access(parent, os.W_OK)):
        print(
            f"note: {folder}: cannot be written; compiled functions are not kept", file=sys.stderr
        )
        return
    entries = folder / COMPILED_FOLDER / _processor()
    jax.config.update("jax_compilation_cache_dir", str(entries))
    # XLA's own caches, of a GPU only, would make the path a part of every key: a run that is moved
    # would be compiled again.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)
    _replace_unreadable(entries)


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


def _processor() -> str:
    """Eight hexadecimal digits that differ between processors with different instructions."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []  # not on Linux
    # x86 lists its instructions as flags, ARM as Features.
    found = {line for line in lines if line.startswith(("flags", "Features", "model name"))}
    description = "\n".join([platform.machine(), platform.processor(), *sorted(found)])
    return hashlib.sha256(description.encode()).hexdigest()[:8]
