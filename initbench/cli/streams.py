"""Standard streams that cannot be written to: a closed pipe ends the program in silence, a full disk in a sentence."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from initbench.errors import ConfigurationError

CLOSED_PIPE = 141  # what a shell reports of a program that SIGPIPE ended, as most are


class Stream(io.TextIOWrapper):
    """A standard stream whose failure is nobody's bug; an error of stderr other than a closed pipe is not reported."""

    failure: BaseException | None = None

    def write(self, text: str) -> int:
        """Write text.

        Raises:
            SystemExit: nobody reads the stream any more.
            ConfigurationError: stdout cannot be written.
        """
        if self.failure is not None:
            raise self.failure
        with self._failing():
            return super().write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered; errors are those of `write`."""
        with self._failing():
            super().flush()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is buffered still has to go somewhere, or Python reports it again at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if error.errno == errno.EPIPE:
                self.failure = SystemExit(CLOSED_PIPE)
            elif self is not sys.stderr:
                self.failure = ConfigurationError(f"Cannot write to standard output: {error.strerror}.")
            if self.failure is not None:
                raise self.failure from None


def guard_streams() -> None:
    r"""Replace stdout and stderr by streams that end the program as other tools end.

    They also encode what a terminal cannot show: ± as \xb1, not as an error. One that was closed before the program
    began leads nowhere: its number would be given to the next file that is opened.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = _guarded(sys.stdout, 1), _guarded(sys.stderr, 2)


def _guarded(stream: TextIO | None, number: int) -> TextIO:
    if stream is None:
        return Stream(io.FileIO(number, "w", closefd=False), encoding="utf-8", errors="backslashreplace")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    return Stream(
        stream.buffer,
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
