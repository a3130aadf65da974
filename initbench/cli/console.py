"""The only place that prints: data to stdout, everything else to stderr."""

import functools
import gc
import json
import multiprocessing
import os
import shutil
import signal
import textwrap
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from initbench.core.gc_pause import collector_paused
from initbench.core.interrupts import INTERRUPTED, STOPPING, exit_interrupted
from initbench.core.text import printable
from initbench.errors import InitbenchError

P = ParamSpec("P")
R = TypeVar("R")

PIPED = 120  # columns where stdout is a file or a pipe, which have none of their own
ROOMY = 100  # columns from which a table can breathe

BUG = 1  # the exit code of a mistake of ours

OUT: dict[str, Any] = {"highlight": False, "markup": False}
ERR: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True, "stderr": True}
out, err = Console(**OUT), Console(**ERR)


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that a user can mend into a sentence and an exit code; the one place that does."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with _manner(plain=bool(kwargs.get("plain"))):
            try:
                with _answering(_interrupt):
                    return function(*args, **kwargs)
            except InitbenchError as error:
                for line in str(error).splitlines():
                    _say_error(line)
                raise typer.Exit(error.exit_code) from None
            except KeyboardInterrupt:
                raise typer.Exit(INTERRUPTED) from None
            except (typer.Exit, typer.Abort):
                raise
            except Exception as error:  # noqa: BLE001 - whatever nobody foresaw is a bug, and is to be reported as one
                _say_bug(error)
                raise typer.Exit(BUG) from None

    return wrapped


def _say_error(line: str) -> None:
    err.print(Text.assemble(("error: ", "bold red"), _plain(line)))


def _say_bug(error: Exception) -> None:
    """Show the way to a mistake of ours, and say that it is one."""
    say("".join(traceback.format_exception(error)).rstrip())
    said = " ".join(f"{type(error).__name__}: {error}".split())
    _say_error(f"this is a bug in initbench ({said}): please report it with the lines above and `initbench doctor`'s.")


@contextmanager
def _manner(*, plain: bool) -> Iterator[None]:
    """Print for a while as where there is no terminal: no colour, no bold, no line that changes."""
    global out, err
    before = out, err
    if plain:
        out, err = (Console(**options, force_terminal=False) for options in (OUT, ERR))
    try:
        yield
    finally:
        out, err = before


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
            # The program's first answer is that nothing began, which is untrue by now; and all that is left is to end.
            signal.signal(number, signal.SIG_IGN if earlier is exit_interrupted else earlier)


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
    with collector_paused(), _answering(exit_interrupted):
        yield
    gc.freeze()


def is_live() -> bool:
    """Say whether what is on stderr can change: on a terminal that can move its cursor, and not with --plain."""
    return err.is_terminal and not err.is_dumb_terminal and err.file.isatty()  # FORCE_COLOR makes a pipe no terminal


@contextmanager
def status_on(*, quiet: bool) -> Iterator[Callable[[str], object]]:
    """Yield what is told of each step of a short task: a line that changes on a terminal, nothing elsewhere."""
    if quiet or not is_live():
        yield lambda _text: None
        return
    with err.status("starting", refresh_per_second=4) as status:
        yield lambda text: status.update(printable(text))


def notice(message: str) -> None:
    """Say something that a user should know and that stops nothing."""
    err.print(Text.assemble(("note: ", "yellow"), _plain(message)))


def say_damaged(path: Path, reason: str) -> None:
    """Say that a stored trial is being computed again, and where what was there lies."""
    notice(f"a stored trial was damaged ({reason}); it is set aside as {path} and computed again.")


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
    """Print a table of names, which come folded, and numbers on stdout: on a narrow terminal headers fold."""
    roomy = columns() >= ROOMY
    table = Table(box=None, padding=(0, 3 if roomy else 1, 0, 0), pad_edge=False)
    for i, header in enumerate(headers):
        narrowest = max(map(len, [*header.split(), *(row[i] for row in rows)]))
        width = None if roomy else narrowest
        folded = header if width is None else "\n".join(_balanced(line, width) for line in header.split("\n"))
        table.add_column(_plain(folded), justify="right" if i else "left", overflow="fold", width=width)
    _print_table(title, table, rows)


def _balanced(text: str, width: int) -> str:
    """Fold text into lines of much the same length, no more of them than the width demands."""
    fold = partial(textwrap.wrap, text, break_long_words=False, break_on_hyphens=False)
    return "\n".join(next(lines for narrow in range(1, width + 1) if len(lines := fold(narrow)) == len(fold(width))))


def _print_table(title: str, table: Table, rows: Sequence[Sequence[str]]) -> None:
    for row in rows:
        table.add_row(*map(_plain, row))
    if title:
        show_text(title, style="bold")
    _print(table)


def show_text(text: str = "", style: str = "") -> None:
    """Print a sentence on stdout, folded at words."""
    _print(Text("\n".join(map(printable, text.split("\n"))), style=style))


def columns() -> int:
    """Return the width to print in: COLUMNS, else the terminal's; a file or a pipe has none of its own."""
    return shutil.get_terminal_size((PIPED, 0)).columns


def _print(content: RenderableType) -> None:
    out.width = columns()  # asked anew each time, for a terminal may change
    out.print(content, soft_wrap=False)


def show_path(label: str, path: Path) -> None:
    """Say where something was written, on stderr."""
    show_fact(label, str(path))


def show_fact(label: str, text: str, remark: str = "") -> None:
    """Say something short behind its label, on stderr; whole on one line, for commands and paths are copied."""
    err.print(Text.assemble(f"{label:<8}", (printable(text), "bold"), (printable(remark), "dim")))


def _plain(text: str) -> Text:
    """Keep names from being read as markup or as control sequences."""
    return Text("\n".join(map(printable, text.split("\n"))))


SPARKS = "▁▂▃▄▅▆▇█"


def block(share: float) -> str:
    """Return the block that stands for a share of the height, at least the lowest."""
    return SPARKS[min(len(SPARKS) - 1, max(0, int(share * len(SPARKS))))]


def picked(count: int, width: int) -> list[int]:
    """Return at most `width` of the places 0 … count - 1, evenly spaced, with both ends."""
    if count <= width:
        return list(range(count))
    return [round(i * (count - 1) / (width - 1)) for i in range(width)]


def spark(shares: Sequence[float], width: int) -> str:
    """Draw shares from 0 to 1 as at most `width` blocks."""
    return "".join(block(shares[i]) for i in picked(len(shares), width))
