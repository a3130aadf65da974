"""What a user sees while trials run: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from initbench.cli import console
from initbench.recipe import Trial
from initbench.record import Record
from initbench.runner import Observer, Silent

LINE_EVERY = 10.0  # seconds between two lines where stderr is no terminal


class Tally:
    """Counts steps over all trials, so that the estimate moves inside a long trial too."""

    def __init__(self) -> None:
        self.total = self.done = self.trials = self.ended = 0
        self.running: dict[str, int] = {}

    def start(self, todo: Sequence[Trial]) -> None:
        """Note what there is to do, from the beginning: tuning and scoring are counted each by itself."""
        self.done, self.ended, self.running = 0, 0, {}
        self.total, self.trials = sum(trial.steps for trial in todo), len(todo)
        self.steps = {trial.id: trial.steps for trial in todo}

    def progress(self, steps: Mapping[str, int]) -> None:
        """Note how far running trials are."""
        self.running |= {trial_id: step for trial_id, step in steps.items() if trial_id in self.steps}

    def finish(self, trial_id: str) -> None:
        """Note the end of a trial; one that diverged early counts in full."""
        self.running.pop(trial_id, None)
        self.done += self.steps.pop(trial_id)
        self.ended += 1

    @property
    def steps_done(self) -> int:
        """Steps of ended trials and of those still running."""
        return self.done + sum(self.running.values())


class Bar(Observer):
    """A rich progress bar with an estimate to the finish."""

    def __init__(self, progress: Progress) -> None:
        self.bar = progress
        self.tally = Tally()
        self.task = progress.add_task("starting", total=None, ended=0, trials=0)

    def damaged(self, path: Path, reason: str) -> None:
        """Name a damaged file."""
        _say_damaged(path, reason)

    def started(self, todo: Sequence[Trial], stored: int) -> None:
        """Show what there is to do."""
        self.tally.start(todo)
        name = f"training ({stored} stored)" if stored else "training"
        self.bar.update(self.task, description=name, total=self.tally.total, trials=len(todo))

    def progressed(self, steps: Mapping[str, int]) -> None:
        """Move the bar inside trials."""
        self.tally.progress(steps)
        self._show()

    def finished(self, record: Record) -> None:
        """Move the bar past a trial."""
        self.tally.finish(record.trial.id)
        self._show()

    def _show(self) -> None:
        self.bar.update(self.task, completed=self.tally.steps_done, ended=self.tally.ended)


class Lines(Observer):
    """One plain line now and then, for logs."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.began = self.last = time.monotonic()
        self.steps_before = 0

    def damaged(self, path: Path, reason: str) -> None:
        """Name a damaged file."""
        _say_damaged(path, reason)

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
    """Yield the observer that suits stderr: a bar, lines, or nothing."""
    if quiet:
        yield Silent()
    elif console.err.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[ended]}/{task.fields[trials]} trials"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console.err, transient=True) as progress:
            yield Bar(progress)
    else:
        yield Lines()


def _say_damaged(path: Path, reason: str) -> None:
    console.notice(f"a stored trial was damaged ({reason}); it is set aside as {path} and computed again.")
