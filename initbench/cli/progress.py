"""Progress while trials run: a live table on a terminal, a line every 10 seconds elsewhere."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.live import Live

from initbench.cli import console
from initbench.cli.live import Board
from initbench.core.words import counted
from initbench.records.recipe import Trial
from initbench.records.record import Record
from initbench.running.observer import Observer, Silent
from initbench.running.pace import StepCounter
from initbench.running.time_left import TimeLeft, in_words

LINE_EVERY = 10.0  # seconds between lines if stderr is not a terminal


class Lines(Observer):
    """A plain progress line every few seconds, for logs."""

    def __init__(self) -> None:
        self.counter, self.time_left = StepCounter(), TimeLeft(())
        self.began = self.last = time.monotonic()
        self.steps_before = 0

    def damaged(self, path: Path, reason: str) -> None:
        """Report a damaged file."""
        console.say_damaged(path, reason)

    def noticed(self, sentence: str) -> None:
        """Print a notice."""
        console.notice(sentence)

    def started(self, todo: Sequence[Trial], stored: int) -> None:
        """Print how many trials there are to train."""
        self.counter.start(todo)
        self.time_left = TimeLeft(todo)
        self.began = self.last = time.monotonic()
        self.steps_before = 0
        console.say(f"{len(todo)} trials to train, {stored} stored")

    def progressed(self, steps: Mapping[str, int]) -> None:
        """Print how far the run is, if the last line is old."""
        self.counter.progress(steps)
        self.time_left.progress(steps)
        now, done = time.monotonic(), self.counter.steps_done
        if now - self.last >= LINE_EVERY and done > self.steps_before:
            self.last, self.steps_before = now, done
            left = self.time_left.seconds()
            remaining = "" if left is None else f", {in_words(left)} left"
            console.say(
                f"{self.counter.ended}/{self.counter.trials} trials, {done / self.counter.total:.0%}{remaining}"
            )

    def finished(self, record: Record) -> None:
        """Count a finished trial; print a line after the last."""
        self.counter.finish(record.trial.id)
        self.time_left.finish(record)
        if self.counter.ended == self.counter.trials:
            console.say(f"{counted(self.counter.ended, 'trial')} trained in {time.monotonic() - self.began:.0f} s")


@contextmanager
def progress_on(*, quiet: bool) -> Iterator[Observer]:
    """Yield the observer for stderr: a table, lines, or nothing."""
    if quiet:
        yield Silent()
    elif console.is_live():
        # Drawn by the event thread, so that the table does not change while it is drawn.
        board = Board(lambda: live.refresh())  # noqa: PLW0108 - there is no `live` yet
        live = Live(
            get_renderable=lambda: board.render(*console.err.size),
            console=console.err,
            auto_refresh=False,
            transient=True,
        )
        with live:
            yield board
    else:
        yield Lines()
