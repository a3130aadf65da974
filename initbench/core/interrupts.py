"""Ctrl-C and SIGTERM: this module is imported first, and imports almost nothing."""

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

INTERRUPTED = 130
STOPPING = (signal.SIGINT, signal.SIGTERM)
RETRY = 0.02  # seconds until an interrupt that came during an import is looked at again
PATIENCE = 3.0  # seconds that an import may hold an interrupt back: the user's own module may train while imported
SHOW_CURSOR = b"\x1b[?25h"

Answer = Callable[[int, Any], Any]


class _State:
    """When the command in progress was interrupted, and whose answer to SIGALRM is replaced meanwhile."""

    since: float | None = None
    alarm: Any = None


def command_line() -> str:
    """Return the command line of this process, quoted for a shell."""
    return shlex.join(["initbench", *sys.argv[1:]])


def exit_interrupted(_signal: int, _frame: Any) -> None:  # noqa: ANN401 - a frame, or None
    """Exit at once, without unwinding: a library interrupted during its import reports an internal error."""
    command = "".join(letter if letter.isprintable() else "�" for letter in command_line())
    os.write(2, f"Interrupted before anything began. To continue: {command}\n".encode())
    os._exit(INTERRUPTED)


@contextmanager
def handled_by(answer: Answer) -> Iterator[None]:
    """Handle Ctrl-C and SIGTERM with `answer` inside the block."""
    if threading.current_thread() is not threading.main_thread():  # elsewhere Python allows no handlers
        yield
        return
    before = {number: signal.signal(number, answer) for number in STOPPING}
    try:
        yield
    finally:
        for number, earlier in before.items():
            # The program's first handler says that nothing began, which is no longer true; all that is left is to exit.
            signal.signal(number, signal.SIG_IGN if earlier is exit_interrupted else earlier)


@contextmanager
def raised_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt inside the block on Ctrl-C or SIGTERM, whatever a library makes of it.

    Also where a library catches it and raises an error of its own, or goes on as if nothing had been.
    """
    _State.since = None
    with handled_by(_interrupt):
        try:
            with kept_as_interrupt():
                yield
        finally:
            _cancel_retry()
    if _State.since is not None:
        raise KeyboardInterrupt


@contextmanager
def kept_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt in place of any error that the block raises once the command was interrupted."""
    try:
        yield
    except Exception as error:
        if _State.since is None:
            raise
        raise KeyboardInterrupt from error


def _interrupt(_signal: int, frame: FrameType | None) -> None:
    """Stop in good order; a second signal stops at once."""
    if _State.since is None:
        _State.since = time.monotonic()
        for number in STOPPING:
            signal.signal(number, _exit_at_once)
    # A library whose import is broken off stays half loaded: neither it nor what imports it works from then on, and an
    # extension module cannot be loaded again. So the interrupt waits for the end of the import.
    if _is_importing(frame) and time.monotonic() - _State.since < PATIENCE and hasattr(signal, "setitimer"):
        earlier = signal.signal(signal.SIGALRM, _interrupt)
        _State.alarm = _State.alarm if earlier is _interrupt else earlier
        signal.setitimer(signal.ITIMER_REAL, RETRY)
        return
    raise KeyboardInterrupt


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a frame, or one that called it, is an `import`."""
    while frame is not None:
        if frame.f_code.co_name == "_find_and_load" and "importlib" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def _cancel_retry() -> None:
    """Leave no timer behind."""
    if _State.alarm is not None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, _State.alarm)
        _State.alarm = None


def _exit_at_once(_signal: int, _frame: Any) -> None:  # noqa: ANN401 - a frame, or None
    import multiprocessing  # noqa: PLC0415 - not needed to start

    if os.isatty(2):
        os.write(2, SHOW_CURSOR)
    for process in multiprocessing.active_children():
        process.kill()
    os._exit(INTERRUPTED)
