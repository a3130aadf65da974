"""The only place that prints: data to stdout, everything else to stderr."""

import functools
import gc
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from initbench.analysis.text import printable
from initbench.collecting import collector_paused
from initbench.errors import InitbenchError
from initbench.interrupts import INTERRUPTED, STOPPING, leave

P = ParamSpec("P")
R = TypeVar("R")

PIPED = 120  # columns where stdout is a file or a pipe, which have none of their own
ROOMY = 100  # columns from which a table can breathe

out = Console(highlight=False, markup=False)
err = Console(highlight=False, markup=False, soft_wrap=True, stderr=True)


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that a user can mend into a sentence and an exit code; the one place that does."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with _answering(_interrupt):
                return function(*args, **kwargs)
        except InitbenchError as error:
            for line in str(error).splitlines():
                err.print(Text.assemble(("error: ", "bold red"), _plain(line)))
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None

    return wrapped


@contextmanager
def _answering(answer: Callable[[int, Any], Any]) -> Iterator[None]:
    """Answer Ctrl-C and a request to end (SIGTERM) in one way for a while."""
    if threading.current_thread() is not threading.main_thread():  # where Python lets nobody set this
        yield
        return
    before = {number: signal.signal(number, answer) for number in STOPPING}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _interrupt(_signal: int, _frame: Any) -> None:  # noqa: ANN401 - a frame, or None
    """End what goes on in good order; a second time, end it at once."""
    for number in STOPPING:
        signal.signal(number, _leave_at_once)
    raise KeyboardInterrupt


def _leave_at_once(_signal: int, _frame: Any) -> None:  # noqa: ANN401 - a frame, or None
    err.show_cursor()
    for process in multiprocessing.active_children():
        process.kill()
    os._exit(INTERRUPTED)


@contextmanager
def kept() -> Iterator[None]:
    """Import libraries or read records, which stay to the end, without the cyclic collector.

    It would walk them again and again: a sixth of the time of importing torch, pandas and SciPy, half of that of
    reading thousands of records. They are frozen: neither later collections nor the one at exit look at them.
    """
    with collector_paused(), _answering(leave):
        yield
    gc.freeze()


@contextmanager
def status_on(*, quiet: bool) -> Iterator[Callable[[str], object]]:
    """Yield what is told of each step of a short task: a line that changes on a terminal, nothing elsewhere."""
    if quiet or not err.is_terminal:
        yield lambda _text: None
        return
    with err.status("starting") as status:
        yield lambda text: status.update(printable(text))


def notice(message: str) -> None:
    """Say something that a user should know and that stops nothing."""
    err.print(Text.assemble(("note: ", "yellow"), _plain(message)))


def name_damaged(files: Sequence[str]) -> None:
    """Name the stored trials that could not be read."""
    for file in files:
        notice(f"a stored trial is damaged and left out ({file}); the comparison's own command computes it again.")


def say(message: str = "") -> None:
    """Say something about the run, on stderr."""
    err.print(_plain(message))


def show_json(document: Any) -> None:  # noqa: ANN401 - any JSON document
    """Print one JSON document on stdout."""
    out.print(json.dumps(document, indent=1, allow_nan=False), soft_wrap=True)


def show_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout; text folds where the terminal is narrow."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for header in headers:
        table.add_column(_plain(header), overflow="fold")
    _print_table(title, table, rows)


def show_numbers(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of a name and numbers on stdout: on a narrow terminal headers and names fold, numbers never."""
    roomy = _columns() >= ROOMY
    table = Table(box=None, padding=(0, 3 if roomy else 1, 0, 0), pad_edge=False)
    for i, header in enumerate(headers):
        cells = [row[i] for row in rows]
        pieces = [*header.split(), *(cells if i else " ".join(cells).split())]
        narrowest = max(map(len, pieces))
        width = None if roomy else narrowest
        table.add_column(_plain(header), justify="right" if i else "left", overflow="fold", width=width)
    _print_table(title, table, rows)


def _print_table(title: str, table: Table, rows: Sequence[Sequence[str]]) -> None:
    for row in rows:
        table.add_row(*map(_plain, row))
    if title:
        show_text(title, style="bold")
    _print(table)


def show_text(text: str = "", style: str = "") -> None:
    """Print a sentence on stdout, folded at words."""
    _print(Text("\n".join(map(printable, text.split("\n"))), style=style))


def _columns() -> int:
    """Return the width to print in: COLUMNS, else the terminal's; a file or a pipe has none of its own."""
    return shutil.get_terminal_size((PIPED, 0)).columns


def _print(content: RenderableType) -> None:
    out.width = _columns()  # asked anew each time, for a terminal may change
    out.print(content, soft_wrap=False)


def show_path(label: str, path: Path) -> None:
    """Say where something was written, on stderr."""
    err.print(Text.assemble(f"{label:<8}", (printable(str(path)), "bold")))


def _plain(text: str) -> Text:
    """Keep names from being read as markup or as control sequences."""
    return Text("\n".join(map(printable, text.split("\n"))))
