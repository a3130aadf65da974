"""The clock of `--trial-timeout`, for every backend."""

import time

STALL = 5.0  # seconds between two rounds of a backend, which come every tenth of one, after which it was stopped


class RunningTime:
    """Seconds in which this program ran: none pass while Ctrl-Z, or a debugger, has stopped it with its workers.

    Else every trial that was in training would be over its time limit when the program goes on.
    """

    def __init__(self) -> None:
        self.last, self.stopped = time.monotonic(), 0.0

    def now(self) -> float:
        """Return the time; asked for in every round of the backend."""
        last, self.last = self.last, time.monotonic()
        if self.last - last > STALL:
            self.stopped += self.last - last
        return self.last - self.stopped
