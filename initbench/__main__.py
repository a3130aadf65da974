"""The command `initbench`, also as `python -m initbench`."""

import atexit
import os
import signal
import sys
import threading
from typing import NoReturn

from initbench.core.interrupts import STOPPING, exit_interrupted


def main() -> None:
    """Run the command line; handle Ctrl-C from the start, before the other modules are imported."""
    for number in STOPPING:
        signal.signal(number, exit_interrupted)
    # NumPy would start threads that compute nothing here, and only a process of one thread can be forked safely.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from initbench.cli import main as run  # noqa: PLC0415 - only after the handlers are set

    try:
        run()
    except SystemExit as ended:
        if threading.active_count() > 1 or not isinstance(ended.code, int | None):
            raise  # Python waits for threads, and prints what is no number
        _leave(ended.code or 0)


def _leave(code: int) -> NoReturn:
    """Exit without taking Python apart: with torch that takes half a second, and the kernel frees all at once."""
    atexit._run_exitfuncs()  # noqa: SLF001 - no public name calls what libraries and the user's code registered
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
