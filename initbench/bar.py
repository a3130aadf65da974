"""The bar of `initbench.compare` while it trains: on a terminal by rich, in Jupyter the notebook's own, else none."""

import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from initbench.core.words import counted
from initbench.errors import InitbenchWarning
from initbench.records.recipe import Trial
from initbench.records.record import Record
from initbench.running.observer import Observer, Silent
from initbench.running.pace import StepCounter, clock
from initbench.running.time_left import TimeLeft, in_words

REFRESH_EVERY = 0.25  # seconds
Draw = Callable[[float | None, str], object]  # the share that is done, None at the end, and a line of text


class Warner(Silent):
    """The observer that passes notices on as warnings and ignores the rest."""

    def noticed(self, sentence: str) -> None:
        """Warn."""
        warnings.warn(sentence, InitbenchWarning, stacklevel=2)


class Bar(Warner):
    """Also draws how far the trials are."""

    def __init__(self, draw: Draw) -> None:
        self._draw, self._counter, self._time_left = draw, StepCounter(), TimeLeft(())
        self._began = self._drawn = 0.0
        self._said = 0, ""

    def started(self, todo: Sequence[Trial], stored: int) -> None:  # noqa: ARG002 - as an Observer
        """Begin at 0; nothing is drawn where there is nothing to train."""
        self._counter.start(todo)
        self._time_left = TimeLeft(todo)
        self._began = time.monotonic()
        if todo:
            self._show()

    def progressed(self, steps: Mapping[str, int]) -> None:
        """Draw a few times per second."""
        self._counter.progress(steps)
        self._time_left.progress(steps)
        if time.monotonic() - self._drawn >= REFRESH_EVERY:
            self._show()

    def finished(self, record: Record) -> None:
        """Count a trial that has ended; after the last, say how long all took."""
        self._counter.finish(record.trial.id)
        self._time_left.finish(record)
        if self._counter.ended == self._counter.trials:
            took = clock(time.monotonic() - self._began)
            self._draw(None, f"{counted(self._counter.trials, 'trial')} trained in {took}")

    def _show(self) -> None:
        self._drawn = time.monotonic()
        done, total = self._counter.steps_done, self._counter.total
        left = self._time_left.seconds()
        more = "" if left is None else f", {in_words(left)} left"
        said = f"{'training' if done else 'starting'}, {self._counter.ended}/{self._counter.trials} trials{more}"
        if (done, said) != self._said:
            self._said = done, said
            self._draw(done / total, said)


@contextmanager
def bar_shown() -> Iterator[Observer]:
    """Yield the observer that shows progress where somebody sees it."""
    if in_notebook():
        yield Bar(notebook_draw())
        return
    from rich.console import Console  # noqa: PLC0415 - loaded where it is used

    console = Console(stderr=True)
    if not (console.is_terminal and console.file.isatty()) or console.is_dumb_terminal:
        yield Warner()
        return
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    columns = BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.fields[said]}")
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=1.0, said="")
        yield Bar(lambda share, said: progress.update(task, completed=share, said=said, refresh=True))


def in_notebook() -> bool:
    """Return whether a Jupyter kernel runs this; IPython on a terminal is none."""
    python = sys.modules.get("IPython")
    return python is not None and hasattr(python.get_ipython(), "kernel")


def notebook_draw() -> Draw:
    """Return what draws a bar below the cell, in one place that changes."""
    from IPython.display import display  # noqa: PLC0415 - it is there in a notebook alone

    shown: list[Any] = []  # the place, once there is one

    def draw(share: float | None, said: str) -> None:
        bar = "" if share is None else f'<progress value="{share:.4f}" max="1"></progress> {share:.0%}, '
        data = {"text/html": f"<div>{bar}{said}</div>", "text/plain": said}
        if shown:
            shown[0].update(data, raw=True)
        else:
            shown.append(display(data, raw=True, display_id=True))  # type: ignore[no-untyped-call] # IPython's own

    return draw
