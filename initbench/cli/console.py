"""The only place that prints: data to stdout, everything else to stderr."""

import functools
import gc
import json
import shutil
import textwrap
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console, RenderableType
from rich.segment import Segment, Segments
from rich.table import Table
from rich.text import Text

from initbench.cli.shortage import shortage_in
from initbench.core.gc_pause import collector_paused
from initbench.core.interrupts import INTERRUPTED, exit_interrupted, handled_by, raised_as_interrupt
from initbench.core.text import printable
from initbench.errors import ConfigurationError, InitbenchError

P = ParamSpec("P")
R = TypeVar("R")

PIPED = 120  # columns if stdout is a file or a pipe
ROOMY = 100  # columns from which tables are spaced widely
COLUMN = 12  # characters per column below which a table is stacked
SPARKS = "▁▂▃▄▅▆▇█"
INTERNAL_ERROR = 1  # exit code

OUT: dict[str, Any] = {"highlight": False, "markup": False}
ERR: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True, "stderr": True}
out, err = Console(**OUT), Console(**ERR)


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Turn errors that a user can fix into a sentence and an exit code; no other place does."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with _plain_output(plain=bool(kwargs.get("plain"))), errors_reported(), raised_as_interrupt():
            return function(*args, **kwargs)

    return wrapped


@contextmanager
def errors_reported() -> Iterator[None]:
    """Report an error on stderr and raise SystemExit with its code."""
    try:
        yield
    except InitbenchError as error:
        for line in str(error).splitlines():
            _say_error(line)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except (typer.Exit, typer.Abort):
        raise
    except Exception as error:  # noqa: BLE001 - any other exception is a bug, to be reported as one
        shortage = shortage_in(error)
        if shortage:
            _say_error(shortage)
            raise SystemExit(ConfigurationError.exit_code) from None
        _say_internal_error(error)
        raise SystemExit(INTERNAL_ERROR) from None


def _say_error(line: str) -> None:
    err.print(Text.assemble(("error: ", "bold red"), _plain(line)))


def _say_internal_error(error: Exception) -> None:
    """Print the traceback and ask for a report."""
    say("".join(traceback.format_exception(error)).rstrip())
    cause = " ".join(f"{type(error).__name__}: {error}".split())
    _say_error(f"internal error ({cause}): please report it with the lines above and the output of `initbench doctor`.")


@contextmanager
def _plain_output(*, plain: bool) -> Iterator[None]:
    """Print as if there were no terminal, where `plain`: no colour, no bold, no live display."""
    global out, err
    before = out, err
    if plain:
        out, err = (Console(**options, force_terminal=False) for options in (OUT, ERR))
    try:
        yield
    finally:
        out, err = before


@contextmanager
def gc_frozen() -> Iterator[None]:
    """Import libraries or read records without the cyclic garbage collector, and exclude them from it for good.

    It would scan them again and again: a sixth of the time of importing torch, pandas and SciPy, half of the time of
    reading thousands of records. Frozen, they are scanned neither later nor at exit.
    """
    with collector_paused(), handled_by(exit_interrupted):
        yield
        gc.freeze()  # before the collector runs again, which would first scan all that was imported


def is_live() -> bool:
    """Return whether stderr is a terminal that can move its cursor, and --plain is not set."""
    return err.is_terminal and not err.is_dumb_terminal and err.file.isatty()  # FORCE_COLOR alone makes no terminal


@contextmanager
def status_on(*, quiet: bool) -> Iterator[Callable[[str], object]]:
    """Yield a function that shows the step of a short task: a live line on a terminal, nothing elsewhere."""
    if quiet or not is_live():
        yield lambda _text: None
        return
    from rich.live import Live

    # Without a thread that turns a wheel: only a process of one thread can be forked safely, to draw on all cores.
    with Live(console=err, auto_refresh=False, transient=True) as live:
        yield lambda text: live.update(Text(printable(text)), refresh=True)


def notice(message: str) -> None:
    """Print a non-fatal notice on stderr."""
    err.print(Text.assemble(("note: ", "yellow"), _plain(message)))


def say_damaged(path: Path, reason: str) -> None:
    """Print that a damaged stored trial is recomputed, and where the damaged file was moved."""
    notice(f"a stored trial was damaged ({reason}): moved to {path} and recomputed.")


def name_damaged(files: Sequence[str]) -> None:
    """Print which stored trials could not be read."""
    for file in files:
        notice(f"a stored trial is damaged and left out ({file}): rerun the comparison's command to recompute it.")


def say(message: str = "") -> None:
    """Print a line about the run on stderr."""
    err.print(_plain(message))


def show_json(document: Any) -> None:  # noqa: ANN401 - any JSON document
    """Print one JSON document on stdout."""
    out.print(json.dumps(document, indent=1, allow_nan=False), soft_wrap=True)


def show_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout; cells wrap on a narrow terminal."""
    if columns() < COLUMN * len(headers):
        show_stacked(title, headers, rows)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for header in headers:
        table.add_column(_plain(header), overflow="fold")
    _print_table(title, table, rows)


def show_stacked(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table for which the terminal is too narrow: below the first cell of each row, a line per further cell."""
    if title:
        show_text(title, style="bold")
    for row in rows:
        show_text(" ".join(row[0].split("\n")), style="bold")
        for header, cell in zip(headers[1:], row[1:], strict=True):
            if cell.strip():
                show_text(f"  {' '.join(header.split())}: {' '.join(cell.split())}")


def show_numbers(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of names, already wrapped, and numbers on stdout; headers wrap on a narrow terminal."""
    roomy = columns() >= ROOMY
    table = Table(box=None, padding=(0, 3 if roomy else 1, 0, 0), pad_edge=False)
    for i, header in enumerate(headers):
        narrowest = max(map(len, [*header.split(), *(row[i] for row in rows)]))
        width = None if roomy else narrowest
        folded = header if width is None else "\n".join(_balanced(line, width) for line in header.split("\n"))
        table.add_column(_plain(folded), justify="right" if i else "left", overflow="fold", width=width)
    _print_table(title, table, rows)


def _balanced(text: str, width: int) -> str:
    """Wrap text into as few lines as the width allows, of about equal length."""
    fold = partial(textwrap.wrap, text, break_long_words=False, break_on_hyphens=False)
    return "\n".join(next(lines for narrow in range(1, width + 1) if len(lines := fold(narrow)) == len(fold(width))))


def _print_table(title: str, table: Table, rows: Sequence[Sequence[str]]) -> None:
    for row in rows:
        table.add_row(*map(_plain, row))
    if title:
        show_text(title, style="bold")
    _print(table)


def show_text(text: str = "", style: str = "") -> None:
    """Print text on stdout, wrapped at words."""
    _print(Text("\n".join(map(printable, text.split("\n"))), style=style))


def columns() -> int:
    """Return the width to print in: COLUMNS, else the terminal's, else a fixed one for files and pipes."""
    return shutil.get_terminal_size((PIPED, 0)).columns


def _print(content: RenderableType) -> None:
    out.width = columns()  # each time, because a terminal may be resized
    # Rich leaves the blank at which it wraps, and fills cells up: a diff or a paste would show them.
    lines = [[*_without_blanks(line), Segment.line()] for line in out.render_lines(content, pad=False)]
    out.print(Segments(chain.from_iterable(lines)), end="", crop=False)


def _without_blanks(line: list[Segment]) -> list[Segment]:
    """Return the segments of a line without the blanks at its end."""
    kept = list(line)
    while kept and not kept[-1].text.strip(" "):
        kept.pop()
    return [*kept[:-1], *(Segment(last.text.rstrip(" "), last.style) for last in kept[-1:])]


def show_path(label: str, path: Path) -> None:
    """Print on stderr where something was written."""
    show_fact(label, str(path))


def show_fact(label: str, text: str, remark: str = "") -> None:
    """Print a label and a short text on stderr, in one line so that commands and paths can be copied."""
    err.print(Text.assemble(f"{label:<8}", (printable(text), "bold"), (printable(remark), "dim")))


def _plain(text: str) -> Text:
    """Return text in which no name acts as markup or as a control sequence."""
    return Text("\n".join(map(printable, text.split("\n"))))


def block(share: float) -> str:
    """Return the block for a fraction of the height, at least the lowest."""
    return SPARKS[min(len(SPARKS) - 1, max(0, int(share * len(SPARKS))))]


def picked(count: int, width: int) -> list[int]:
    """Return at most `width` of the indices 0 … count - 1, evenly spaced, with both ends."""
    if count <= width:
        return list(range(count))
    return [round(i * (count - 1) / (width - 1)) for i in range(width)]


def spark(shares: Sequence[float], width: int) -> str:
    """Draw fractions from 0 to 1 as at most `width` blocks."""
    return "".join(block(shares[i]) for i in picked(len(shares), width))
