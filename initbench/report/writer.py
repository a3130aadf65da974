"""The folder of an inspection, written by a copy of this process that imports what draws while this one measures.

The copy is made early, from a process of one thread (`core.forked` says why), and stays one: it draws on all cores.
"""

import gc
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from initbench.core.children import no_interrupt_for_children
from initbench.core.forked import can_fork, leave_stopping_to_parent
from initbench.core.gc_pause import collector_paused

if TYPE_CHECKING:
    from pathlib import Path

    from initbench.analysis.step_zero.inspection import Inspection
    from initbench.report.figures.style import Files

    Write = Callable[[Path, Inspection, Files], Callable[[], None]]


@contextmanager
def writer() -> Iterator["Write"]:
    """Yield what begins `folder.write_inspection` and returns what waits for its end."""
    if not can_fork():
        yield lambda *asked: partial(_write_here, *asked)
        return
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    copy = context.Process(target=_write_for, args=(there,), name="writer")
    with no_interrupt_for_children():
        copy.start()
    there.close()
    try:
        yield partial(_send, here)
    finally:
        copy.kill()  # it has written all, or is not to write
        copy.join()
        here.close()


def _send(copy: Connection, *asked: Any) -> Callable[[], None]:  # noqa: ANN401 - what `write_inspection` takes
    with suppress(OSError):  # it was killed: `_wait` finds that out
        copy.send(asked)
    return partial(_wait, copy, *asked)


def _wait(copy: Connection, *asked: Any) -> None:  # noqa: ANN401 - as above
    """Wait for the copy; what it cannot write is written here, where an error has a reader."""
    try:
        copy.recv()
    except (EOFError, OSError):
        _write_here(*asked)


def _write_here(*asked: Any) -> None:  # noqa: ANN401 - as above
    from initbench.report.folder import write_inspection  # noqa: PLC0415 - loads matplotlib

    write_inspection(*asked)


def _write_for(parent: Connection) -> None:
    leave_stopping_to_parent()
    with suppress(Exception):  # the parent then writes
        with collector_paused():
            import scipy.special  # noqa: F401, PLC0415 - intervals ask for it, and this process has time now

            import initbench.report.folder  # noqa: F401, PLC0415 - loads matplotlib

            gc.freeze()
        _write_here(*parent.recv())
        parent.send(None)
