"""The command `initbench`, and `python -m initbench`."""

import os
import signal
from typing import Any


def _leave(_signal: int, _frame: Any) -> None:  # noqa: ANN401 - a frame, or None
    os._exit(130)


def main() -> None:
    """Run the command line; Ctrl-C ends it quietly from the first moment on, while it is still being imported."""
    signal.signal(signal.SIGINT, _leave)
    signal.signal(signal.SIGTERM, _leave)
    from initbench.cli import main as run  # noqa: PLC0415 - after the line above

    run()


if __name__ == "__main__":
    main()
