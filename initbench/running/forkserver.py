"""The process that workers of the command line are forked from: it imports torch once, for all of them, and early.

A fork is safe from a process of one thread that has computed nothing: this one only imports, with OpenMP and BLAS held
to one thread. Python's own server (`multiprocessing.forkserver`) does the forking. There is one per program, with
settings of ours, so programs that call the library have none: their workers are spawned.
"""

import contextlib
import multiprocessing
import os
import signal
import sys

from initbench.core.children import no_interrupt_for_children, single_threaded_children

PRELOADED = "initbench.running.preloaded"


class _State:
    """Whether this program has started the server."""

    started = False


def can_fork() -> bool:
    """Return whether this system has a fork server; on macOS libraries do not outlive a fork."""
    return sys.platform == "linux"


def has_started() -> bool:
    """Return whether this program has a server."""
    return _State.started


def start() -> None:
    """Start the server, which imports torch while this returns."""
    from multiprocessing import forkserver  # noqa: PLC0415 - Windows has none

    _State.started = True
    multiprocessing.set_forkserver_preload([PRELOADED])
    # Its path begins with the current folder, whose files must not stand for modules; a worker gets the right path.
    with contextlib.chdir("/"), single_threaded_children(), no_interrupt_for_children():
        forkserver.ensure_running()


def end() -> None:
    """End the server at once, and with it the workers that it forked."""
    from multiprocessing import forkserver  # noqa: PLC0415 - as above

    pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined] # noqa: SLF001 - nothing public names it
    if pid is not None:
        os.kill(pid, signal.SIGKILL)  # it is not waited for elsewhere, so that its number is nobody else's
