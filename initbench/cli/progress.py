"""What a user sees while trials run: a table on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.live import Live

from initbench.cli import console
from initbench.cli.live import Board, Tally
from initbench.records.recipe import Trial
from initbench.records.record import Record
from initbench.running.observer import Observer, Silent

LINE_EVERY = 10.0  # seconds between two lines where stderr is no terminal


class Lines(Observer):
    """One plain line now and then, for logs."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.began = self.last = time.monotonic()
        self.steps_before = 0

    def damaged(self, path: Path, reason: str) -> None:
        """Name a damaged file."""
        console.say_damaged(path, reason)

    def noticed(self, sentence: str) -> None:
        """Say it."""
        console.notice(sentence)

    def started(self, todo: Sequence[Trial], stored: int) -> None:
        """Say what there is to do."""
        self.tally.start(todo)
        self.began = self.last = time.monotonic()
        self.steps_before = 0
        console.say(f"{len(todo)} trials to train, {stored} stored")

    def progressed(self, steps: Mapping[str, int]) -> None:
        """Say how far the run is, if the last line is old."""
        self.tally.progress(steps)
        now, done = time.monotonic(), self.tally.steps_done
        if now - self.last >= LINE_EVERY and done > self.steps_before:
            # The pace since the last line: starting workers takes seconds that say nothing about training.
            remaining = (now - self.last) * (self.tally.total - done) / (done - self.steps_before)
            self.last, self.steps_before = now, done
            share = done / self.tally.total
            console.say(f"{self.tally.ended}/{self.tally.trials} trials, {share:.0%}, about {remaining:.0f} s left")

    def finished(self, record: Record) -> None:
        """Count a trial; say so when it was the last."""
        self.tally.finish(record.trial.id)
        if self.tally.ended == self.tally.trials:
            console.say(f"{self.tally.ended} trials trained in {time.monotonic() - self.began:.0f} s")


@contextmanager
def progress_on(*, quiet: bool) -> Iterator[Observer]:
    """Yield the observer that suits stderr: a table, lines, or nothing."""
    if quiet:
        yield Silent()
    elif console.is_live():
        # Shown by the thread that hears events, which is idle in between: what it shows does not change meanwhile.
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
