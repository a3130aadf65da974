"""The table that changes while trials run, a row a scheme; it is worked out from what an observer hears, and no more.

Curves are those of finished trials: what a trial is at is known in steps only.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from initbench.cli import console
from initbench.cli.console import spark
from initbench.core.text import printable
from initbench.records.recipe import Trial
from initbench.records.record import Record
from initbench.running.observer import Observer

REFRESH_EVERY = 0.25  # seconds
AXES = ("dataset", "model", "optimizer", "lr")
FIXED = 38  # columns that everything but names and spark lines takes
SPARK, WIDE_SPARK = 20, 36
LEAST_NAME = 8  # columns of a scheme's name that are always shown
NARROW = 66  # columns below which there is no room for a spark line
FRAME = 4  # lines beside the rows: what is being done, heads, what the curves are, and the cursor's


class Row:
    """What is known of one scheme in its setting; `curve` is the sum of its finished trials' validation accuracies."""

    def __init__(self, scheme: str, setting: str, todo: Sequence[Trial]) -> None:
        self.scheme, self.setting, self.tally = printable(scheme), printable(setting), Tally()
        self.tally.start(todo)
        self.curve: list[float] = []
        self.best: float | None = None
        self.ends = {"finished": 0, "diverged": 0, "failed": 0}

    def finish(self, record: Record) -> None:
        """Add a trial that has ended."""
        self.tally.finish(record.trial.id)
        self.ends[record.outcome.status] += 1
        accuracies = [point.val_accuracy for point in record.curve]
        self.best = max([*accuracies, *([] if self.best is None else [self.best])], default=None)
        if record.outcome.status == "finished":
            self.curve = [a + b for a, b in zip(self.curve, accuracies, strict=False)] if self.curve else accuracies

    @property
    def mean(self) -> list[float]:
        """The mean validation accuracy of its finished trials by evaluation."""
        return [value / self.ends["finished"] for value in self.curve]

    @property
    def remark(self) -> str:
        """How trials ended that did not finish."""
        return ", ".join(f"{self.ends[end]} {end}" for end in ("diverged", "failed") if self.ends[end])


class Board(Observer):
    """Keeps the table; `refresh` shows it anew and is called a few times a second, by the thread that hears events."""

    def __init__(self, refresh: Callable[[], object]) -> None:
        self.refresh = refresh
        self.rows: list[Row] = []
        self.row_of: dict[str, Row] = {}
        self.stored = 0
        self.began = self.shown = time.monotonic()
        self.pace = Pace()

    def damaged(self, path: Path, reason: str) -> None:
        """Name a damaged file."""
        console.say_damaged(path, reason)

    def noticed(self, sentence: str) -> None:
        """Say it."""
        console.notice(sentence)

    def started(self, todo: Sequence[Trial], stored: int) -> None:
        """Lay out a row for each scheme, and for each setting where there are several."""
        grouped: dict[tuple[str, str], list[Trial]] = {}
        varied = [axis for axis in AXES if len({getattr(trial, axis) for trial in todo}) > 1]
        for trial in todo:
            grouped.setdefault((trial.scheme, _setting(trial, varied)), []).append(trial)
        self.rows = [Row(*names, trials) for names, trials in grouped.items()]
        self.row_of = {trial_id: row for row in self.rows for trial_id in row.tally.steps}
        self.stored, self.began, self.pace = stored, time.monotonic(), Pace()
        if not todo:
            console.say(f"0 trials to train, {stored} stored")
        self._show()

    def progressed(self, steps: Mapping[str, int]) -> None:
        """Note how far running trials are."""
        for row in self.rows:
            row.tally.progress(steps)
        self.pace.note(self.steps_done)
        if time.monotonic() - self.shown >= REFRESH_EVERY:
            self._show()

    def finished(self, record: Record) -> None:
        """Add a trial; say so when it was the last."""
        self.row_of[record.trial.id].finish(record)
        if self.ended == self.trials:
            console.say(f"{self.trials} trials trained in {time.monotonic() - self.began:.0f} s, {self.stored} stored")

    def _show(self) -> None:
        self.shown = time.monotonic()
        self.refresh()

    @property
    def trials(self) -> int:
        """Count the trials that there were to train."""
        return sum(row.tally.trials for row in self.rows)

    @property
    def ended(self) -> int:
        """Count those that have ended."""
        return sum(row.tally.ended for row in self.rows)

    @property
    def steps_done(self) -> int:
        """Steps of ended trials and of those still running."""
        return sum(row.tally.steps_done for row in self.rows)

    def render(self, columns: int, lines: int) -> RenderableType:
        """Return the table for a terminal of some size: rows that do not fit are counted."""
        if not self.trials:
            return ""
        shown = _those_that_fit(self.rows, max(1, lines - FRAME))
        width = 0 if columns < NARROW else SPARK if columns < console.ROOMY else WIDE_SPARK
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("scheme", no_wrap=True)
        table.add_column("trials", no_wrap=True, justify="right")
        table.add_column("validation accuracy" if width else "", no_wrap=True)
        table.add_column("mean", no_wrap=True, justify="right")
        table.add_column("best", no_wrap=True, justify="right")
        table.add_column("", no_wrap=True)
        for row in shown:
            table.add_row(*_cells(row, columns - FIXED - width, width))
        left_out = len(self.rows) - len(shown)
        more = f"{left_out} more rows; " if left_out else ""
        foot = f"{more}curves and means are of finished trials, steps log-spaced"
        return Group(self._head(), table, Text(foot, style="dim"))

    def _head(self) -> Text:
        done, total = self.steps_done, sum(row.tally.total for row in self.rows)
        left = self.pace.left(done, total)
        parts = [
            f"{self.ended}/{self.trials} trials, {done / total:.0%}",
            _clock(time.monotonic() - self.began) + " gone",
            *([] if left is None else [f"about {_clock(left)} left"]),
            *([f"{self.stored} were stored"] if self.stored else []),
        ]
        return Text.assemble(("starting " if self.pace.since is None else "training ", "bold"), ", ".join(parts))


def _setting(trial: Trial, varied: Sequence[str]) -> str:
    """Name what else differs between the trials: a row's name goes on with it."""
    return "".join(f", lr {trial.lr:g}" if axis == "lr" else f", {getattr(trial, axis)}" for axis in varied)


def _those_that_fit(rows: Sequence[Row], room: int) -> list[Row]:
    """Return as many rows as there is room for, those in training first, in the order of all."""
    by_need = sorted(rows, key=lambda row: (not row.tally.running, row.tally.ended == row.tally.trials))
    kept = {id(row) for row in by_need[:room]}
    return [row for row in rows if id(row) in kept]


def _cells(row: Row, room: int, width: int) -> tuple[Text, ...]:
    room = max(room, LEAST_NAME)
    setting = Text(row.setting)
    setting.truncate(room - LEAST_NAME, overflow="ellipsis")
    name = Text(row.scheme, style="bold" if row.tally.running else "")
    name.truncate(room - len(setting), overflow="ellipsis")
    mean = row.mean
    return (
        name + setting,
        Text(f"{row.tally.ended}/{row.tally.trials}"),
        Text(spark(mean, width).ljust(width), style="cyan"),
        Text(f"{mean[-1]:.3f}" if mean else ""),
        Text("" if row.best is None else f"{row.best:.3f}"),
        Text(row.remark, style="yellow"),
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Tally:
    """Counts steps over some trials, so that the estimate moves inside a long trial too."""

    def __init__(self) -> None:
        self.total = self.done = self.trials = self.ended = 0
        self.running: dict[str, int] = {}
        self.steps: dict[str, int] = {}

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


class Pace:
    """Guesses the time that is left from the first steps on: starting workers takes seconds that say nothing of it."""

    def __init__(self) -> None:
        self.since: float | None = None
        self.steps = 0

    def note(self, done: int) -> None:
        """Begin with the first steps that are heard of."""
        if self.since is None and done:
            self.since, self.steps = time.monotonic(), done

    def left(self, done: int, total: int) -> float | None:
        """Return the seconds for `total - done` steps, None before there is anything to guess from."""
        if self.since is None or done <= self.steps:
            return None
        return (time.monotonic() - self.since) * (total - done) / (done - self.steps)
