"""Forked copies of this process: they begin at once, with all that it has imported and holds in memory.

A fork is safe from a process of one thread, and only then is one made: no lock can be held by a thread that the copy
lacks, and OpenMP has not started its own (`machine.is_single_threaded`).
"""

import gc
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from initbench.core.children import end_with_parent, no_interrupt_for_children
from initbench.core.interrupts import STOPPING
from initbench.core.machine import cores, is_single_threaded


def can_fork() -> bool:
    """Return whether copies of this process are safe now, and would run beside it."""
    return cores() > 1 and is_single_threaded()


@contextmanager
def forked(jobs: int, begin: Callable[..., object], *args: Any) -> Iterator[ProcessPoolExecutor]:  # noqa: ANN401 - of `begin`
    """Yield copies of this process, in each of which `begin` is called first; an exception ends them at once."""
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(jobs, multiprocessing.get_context("fork"), _begin, (begin, args))
    try:
        with no_interrupt_for_children():
            executor.submit(os.getpid)  # all are forked here, before the executor has a thread
        yield executor
    except BaseException:
        for copy in set(multiprocessing.active_children()) - others:
            copy.kill()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def leave_stopping_to_parent() -> None:
    """Leave stopping to the parent, and end with it: to be called first in a copy."""
    for number in STOPPING:  # the parent's answer, which says what to do next, is its own
        signal.signal(number, signal.SIG_DFL)
    end_with_parent()


def _begin(begin: Callable[..., object], args: tuple[Any, ...]) -> None:
    leave_stopping_to_parent()
    gc.freeze()  # a collection would go through all that the parent holds, and copy its pages
    begin(*args)
