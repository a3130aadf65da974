"""The process that workers of the command line are forked from: it imports torch once, for all of them, and early.

A fork is safe from a process of one thread that has computed nothing: this one only imports, with OpenMP and BLAS held
to one thread. Python's own server (`multiprocessing.forkserver`) does the forking. There is one per program, with
settings of ours, so programs that call the library have none: their workers are spawned.
"""

import contextlib
import multiprocessing
import sys

from initbench.core.children import no_interrupt_for_children, single_threaded_children

PRELOADED = "initbench.running.preloaded"


class _State:
    """Whether this program has started the server."""

    started = False


def can_fork() -> bool:
    """Return whether this system has a fork server; on macOS libraries do not outlive a fork."""
    return sys.platform == "linux"


def start_method() -> str:
    """Return how worker processes start (`multiprocessing.get_context`)."""
    return "forkserver" if _State.started else "spawn"


def start() -> None:
    """Start the server, which imports torch while this returns."""
    from multiprocessing import forkserver  # noqa: PLC0415 - Windows has none

    _State.started = True
    multiprocessing.set_forkserver_preload([PRELOADED])
    # Its path begins with the current folder, whose files must not stand for modules; a worker gets the right path.
    with contextlib.chdir("/"), single_threaded_children(), no_interrupt_for_children():
        forkserver.ensure_running()
