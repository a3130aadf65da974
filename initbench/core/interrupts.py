"""Ctrl-C before anything began: this module is loaded first, and loads next to nothing."""

import os
import shlex
import signal
import sys
from typing import Any

INTERRUPTED = 130
STOPPING = (signal.SIGINT, signal.SIGTERM)


def typed() -> str:
    """Return the command line as it was typed, quoted for a shell."""
    return shlex.join(["initbench", *sys.argv[1:]])


def leave(_signal: int, _frame: Any) -> None:  # noqa: ANN401 - a frame, or None
    """Leave without unwinding: libraries that are being imported take KeyboardInterrupt for a defect of theirs."""
    command = "".join(letter if letter.isprintable() else "�" for letter in typed())
    os.write(2, f"Interrupted before anything began. To continue: {command}\n".encode())
    os._exit(INTERRUPTED)
