"""The live table: one row per scheme while trials run, computed only from the events an observer receives.

Curves are those of finished trials: of running ones only the step is known.
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
from initbench.core.words import counted
from initbench.records.recipe import Trial
from initbench.records.record import Record
from initbench.running.observer import Observer
from initbench.running.pace import StepCounter, clock
from initbench.running.time_left import TimeLeft, in_words

REFRESH_EVERY = 0.25  # seconds
AXES = ("dataset", "model", "optimizer", "batch_size", "lr")
FIXED = 38  # columns taken by everything except names and spark lines
SPARK, WIDE_SPARK = 20, 36
LEAST_NAME = 8  # columns of a scheme's name that are always shown
NARROW = 66  # columns below which there is no room for a spark line
FRAME = 4  # lines besides the rows: status, headers, footnote, cursor


class Row:
    """One scheme in one setting; `curve` is the sum of its finished trials' validation accuracies."""

    def __init__(self, scheme: str, setting: str, todo: Sequence[Trial]) -> None:
        self.scheme, self.setting, self.counter = printable(scheme), printable(setting), StepCounter()
        self.counter.start(todo)
        self.curve: list[float] = []
        self.best: float | None = None
        self.ends = {"finished": 0, "diverged": 0, "failed": 0}

    def finish(self, record: Record) -> None:
        """Add a trial that has ended."""
        self.counter.finish(record.trial.id)
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
        """How many trials diverged or failed."""
        return ", ".join(f"{self.ends[end]} {end}" for end in ("diverged", "failed") if self.ends[end])


class Board(Observer):
    """Keeps the table; `refresh` redraws it and is called a few times per second, by the event thread."""

    def __init__(self, refresh: Callable[[], object]) -> None:
        self.refresh = refresh
        self.rows: list[Row] = []
        self.row_of: dict[str, Row] = {}
        self.stored = 0
        self.began = self.shown = time.monotonic()
        self.time_left = TimeLeft(())

    def damaged(self, path: Path, reason: str) -> None:
        """Report a damaged file."""
        console.say_damaged(path, reason)

    def noticed(self, sentence: str) -> None:
        """Print a notice."""
        console.notice(sentence)

    def started(self, todo: Sequence[Trial], stored: int) -> None:
        """Make a row for each scheme, and for each setting if there are several."""
        grouped: dict[tuple[str, str], list[Trial]] = {}
        varied = [axis for axis in AXES if len({getattr(trial, axis) for trial in todo}) > 1]
        for trial in todo:
            grouped.setdefault((trial.scheme, _setting(trial, varied)), []).append(trial)
        self.rows = [Row(*names, trials) for names, trials in grouped.items()]
        self.row_of = {trial_id: row for row in self.rows for trial_id in row.counter.steps}
        self.stored, self.began, self.time_left = stored, time.monotonic(), TimeLeft(todo)
        if not todo:
            console.say(f"0 trials to train, {stored} stored")
        self._show()

    def progressed(self, steps: Mapping[str, int]) -> None:
        """Note how far running trials are."""
        for row in self.rows:
            row.counter.progress(steps)
        self.time_left.progress(steps)
        if time.monotonic() - self.shown >= REFRESH_EVERY:
            self._show()

    def finished(self, record: Record) -> None:
        """Count a finished trial; print a line after the last."""
        self.row_of[record.trial.id].finish(record)
        self.time_left.finish(record)
        if self.ended == self.trials:
            took = time.monotonic() - self.began
            console.say(f"{counted(self.trials, 'trial')} trained in {took:.0f} s, {self.stored} stored")

    def _show(self) -> None:
        self.shown = time.monotonic()
        self.refresh()

    @property
    def trials(self) -> int:
        """Count the trials to train."""
        return sum(row.counter.trials for row in self.rows)

    @property
    def ended(self) -> int:
        """Count those that have ended."""
        return sum(row.counter.ended for row in self.rows)

    @property
    def steps_done(self) -> int:
        """Steps of ended trials and of those still running."""
        return sum(row.counter.steps_done for row in self.rows)

    def render(self, columns: int, lines: int) -> RenderableType:
        """Return the table for a terminal of this size; rows that do not fit are counted."""
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
        foot = f"{more}curves and means are over finished trials, steps log-spaced"
        return Group(self._head(), table, Text(foot, style="dim"))

    def _head(self) -> Text:
        done, total = self.steps_done, sum(row.counter.total for row in self.rows)
        left = self.time_left.seconds()
        parts = [
            f"{self.ended}/{self.trials} trials, {done / total:.0%}",
            clock(time.monotonic() - self.began) + " elapsed",
            *([] if left is None else [f"{in_words(left)} left"]),
            *([f"{self.stored} were stored"] if self.stored else []),
        ]
        return Text.assemble(("starting " if self.time_left.since is None else "training ", "bold"), ", ".join(parts))


def _setting(trial: Trial, varied: Sequence[str]) -> str:
    """Name the other axes that differ between trials: the suffix of a row's name."""
    return "".join(f", lr {trial.lr:g}" if axis == "lr" else f", {getattr(trial, axis)}" for axis in varied)


def _those_that_fit(rows: Sequence[Row], room: int) -> list[Row]:
    """Return the rows that fit, those in training first, in the order of all."""
    by_need = sorted(rows, key=lambda row: (not row.counter.running, row.counter.ended == row.counter.trials))
    kept = {id(row) for row in by_need[:room]}
    return [row for row in rows if id(row) in kept]


def _cells(row: Row, room: int, width: int) -> tuple[Text, ...]:
    room = max(room, LEAST_NAME)
    setting = Text(row.setting)
    setting.truncate(room - LEAST_NAME, overflow="ellipsis")
    name = Text(row.scheme, style="bold" if row.counter.running else "")
    name.truncate(room - len(setting), overflow="ellipsis")
    mean = row.mean
    return (
        name + setting,
        Text(f"{row.counter.ended}/{row.counter.trials}"),
        Text(spark(mean, width).ljust(width), style="cyan"),
        Text(f"{mean[-1]:.3f}" if mean else ""),
        Text("" if row.best is None else f"{row.best:.3f}"),
        Text(row.remark, style="yellow"),
    )
