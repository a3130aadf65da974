"""What is printed on stdout, piece by piece as plain data: it can be kept and printed again at another width."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from initbench.cli import console
from initbench.core.text import pieces

LEAST = 6  # characters for names below which a table is stacked
NAME = 24  # characters that names of schemes should have before an interval takes a line of its own


@dataclass(frozen=True)
class Shown:
    """A text, wrapped at words, or with `headers` a table with its title."""

    text: str = ""
    style: str = ""
    headers: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()


EMPTY = Shown()  # an empty line


def listed(lines: Sequence[str]) -> Iterator[Shown]:
    """Yield sentences, each behind a dot."""
    return (Shown(f"· {line}") for line in lines)


def show(shown: Iterable[Shown]) -> None:
    """Print pieces in their order."""
    for piece in shown:
        if piece.headers:
            show_folded(piece.text, piece.headers, piece.rows)
        else:
            console.show_text(piece.text, piece.style)


def show_folded(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose first column, the names, is folded into what the numbers leave of the terminal."""
    broken = [header.replace(" (", "\n(") for header in headers]
    for lines in (1, 2, 3):
        cells = [[_lines(cell, lines) for cell in row[1:]] for row in rows]
        room = _room(broken[1:], cells)
        if room >= NAME:
            break
    if room < max(LEAST, *map(len, headers[0].split())):
        console.show_stacked(title, headers, rows)
        return
    names = _folded([row[0] for row in rows], room)
    physical = [line for name, row in zip(names, cells, strict=True) for line in zip_longest(name, *row, fillvalue="")]
    console.show_numbers(title, broken, physical)


def _lines(cell: str, most: int) -> list[str]:
    """Return a cell in at most so many lines: `+1.2, p = 0.03`, `[0.4, 2.0]`, then also `p = 0.03` alone."""
    interval = re.fullmatch(r"(.*?) (\[.*?[\])])(.*)", cell)
    count = re.fullmatch(r"(.* ± .*) (\(.*\))", cell)
    if most > 1 and interval:
        value, ends, rest = interval.groups()
        return [value + rest, ends] if most == 2 else [value, ends, *filter(None, [rest.strip(" ,")])]
    return [count[1], count[2]] if most > 1 and count else [cell]


def _room(headers: Sequence[str], rows: Sequence[Sequence[Sequence[str]]]) -> int:
    """Return the characters that `console.show_numbers` has left for names."""
    columns = console.columns()
    roomy = columns >= console.ROOMY
    room = columns
    for i, header in enumerate(headers):
        pieces = header.split("\n") if roomy else header.split()
        room -= max(map(len, [*pieces, *(line for row in rows for line in row[i])])) + (3 if roomy else 1)
    return room


def _folded(names: Sequence[str], room: int) -> list[list[str]]:
    """Return names in lines no wider than `room`, broken at spaces; within a word only where it is wider than that."""
    words = [[piece for word in name.split() for piece in pieces(word, room)] for name in names]
    return [
        textwrap.wrap(" ".join(name_words), room, break_long_words=False, break_on_hyphens=False)
        for name_words in words
    ]
