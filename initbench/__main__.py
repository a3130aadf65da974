"""The command `initbench`, also as `python -m initbench`."""

import os
import signal

from initbench.core.interrupts import STOPPING, exit_interrupted


def main() -> None:
    """Run the command line; handle Ctrl-C from the start, before the other modules are imported."""
    for number in STOPPING:
        signal.signal(number, exit_interrupted)
    # NumPy would start threads that compute nothing here, and only a process of one thread can be forked safely.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from initbench.cli import main as run  # noqa: PLC0415 - only after the handlers are set

    run()


if __name__ == "__main__":
    main()
