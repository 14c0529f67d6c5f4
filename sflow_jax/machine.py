"""What this machine has: cores and memory."""

import contextlib
import os
import pathlib

GIB = 2**30

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def num_cores() -> int:
    """The number of cores that this process may use, or all of them if the system does not say."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def memory_bytes() -> int:
    """The machine's memory, or what a container may use of it."""
    sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for path in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # 'max' where there is no limit
            sizes.append(int(pathlib.Path(path).read_text(encoding="utf-8")))
    return min(sizes)
