"""The command `initbench`, also as `python -m initbench`."""

import signal

from initbench.core.interrupts import STOPPING, exit_interrupted


def main() -> None:
    """Run the command line; handle Ctrl-C from the start, before the other modules are imported."""
    for number in STOPPING:
        signal.signal(number, exit_interrupted)
    from initbench.cli import main as run  # noqa: PLC0415 - only after the handlers are set

    run()


if __name__ == "__main__":
    main()
