"""The command `initbench`, and `python -m initbench`."""

import signal

from initbench.core.interrupts import STOPPING, leave


def main() -> None:
    """Run the command line; Ctrl-C has an answer from the first moment on, while the rest is still being imported."""
    for number in STOPPING:
        signal.signal(number, leave)
    from initbench.cli import main as run  # noqa: PLC0415 - after the lines above

    run()


if __name__ == "__main__":
    main()
