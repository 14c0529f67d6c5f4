"""Mapping a function over items with several processes, with results in the order of the items."""

import collections
import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import cv2

from sflow_jax.machine import num_cores

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_ITEMS_PER_PROCESS = 16  # fewer would be done before another process has started
_ITEMS_AHEAD = 4  # per process: keeps it busy without piling up results that wait to be used


def map_in_processes(
    function: Callable[[_Item], _Result], items: Iterable[_Item], num_items: int
) -> Iterator[_Result]:
    """Maps items to results with all cores, a few items ahead of the consumer.

    The processes are spawned and import the main module, so a script that calls this needs the
    usual `if __name__ == "__main__":`. A small number of items is mapped in the calling process.

    Args:
        function: can be pickled, and so can its arguments and results.
        items: what to map.
        num_items: how many.

    Raises:
        Exception: what the function raised.
    """
    num_processes = min(num_cores(), -(-num_items // _ITEMS_PER_PROCESS))
    if num_processes <= 1:
        yield from map(function, items)
        return
    # Not forked: JAX may already run threads in this process.
    pool = concurrent.futures.ProcessPoolExecutor(
        max_workers=num_processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=start_worker,
    )
    others = set(multiprocessing.active_children())
    pending: collections.deque[concurrent.futures.Future[_Result]] = collections.deque()
    submitted = 0
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            submitted += 1
            if len(pending) == _ITEMS_AHEAD * num_processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    except BaseException:
        # Starting may take longer than SIGTERM leaves. Those that work are waited for below: to end
        # one that writes a result would leave the reader waiting for the rest of it.
        if submitted == len(pending) and not any(future.done() for future in pending):
            for worker in set(multiprocessing.active_children()) - others:
                worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def start_worker() -> None:
    """Uses one core, and ends with the process that the worker belongs to, however that ends."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to both: the parent tidies up
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
