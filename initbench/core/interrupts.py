"""Ctrl-C during start-up: this module is imported first, and imports almost nothing."""

import os
import shlex
import signal
import sys
from typing import Any

INTERRUPTED = 130
STOPPING = (signal.SIGINT, signal.SIGTERM)


def command_line() -> str:
    """Return the command line of this process, quoted for a shell."""
    return shlex.join(["initbench", *sys.argv[1:]])


def exit_interrupted(_signal: int, _frame: Any) -> None:  # noqa: ANN401 - a frame, or None
    """Exit at once, without unwinding: a library interrupted during its import reports an internal error."""
    command = "".join(letter if letter.isprintable() else "�" for letter in command_line())
    os.write(2, f"Interrupted before anything began. To continue: {command}\n".encode())
    os._exit(INTERRUPTED)
