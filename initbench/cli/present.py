"""Print a comparison: tables and verdicts for people, or the JSON document for programs."""

import json
import re
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from initbench.analysis.claims import ClaimVerdict
from initbench.cli import console
from initbench.comparison import Comparison
from initbench.core.text import pieces
from initbench.report.document import document_of

LEAST = 6  # characters for names below which a table is stacked
NAME = 24  # characters that names of schemes should have before an interval takes a line of its own


def show_comparison(comparison: Comparison) -> None:
    """Print the question, a table and the verdicts per setting, the sections and the notes."""
    document = document_of(comparison)
    console.show_text(document.introduction)
    for panel in document.tables:
        console.show_text()
        show_folded(panel.setting, panel.headers, panel.rows)
        console.show_text()
        console.show_text(panel.head)
        show_list(panel.lines)
    for table in document.across:
        console.show_text()
        show_folded(f"Across settings: {table.caption}", table.headers, table.rows)
    for section in document.sections:
        if section.brief:
            console.show_text()
            console.show_text(section.title, style="bold")
            show_list(section.lines)
    console.show_text()
    show_list((*document.remarks, *document.notes))


def show_all_pairs(comparison: Comparison) -> None:
    """Print every scheme against every other; Holm's family is all pairs of a setting."""
    for panel, rows in comparison.all_pairs().groupby("panel", sort=False):
        console.show_text()
        console.show_text(f"All pairs: {panel}; p adjusted by Holm over {len(rows)} pairs", style="bold")
        show_list([f"{row.scheme} against {row.baseline}: {row.accuracy_text}" for row in rows.itertuples()])


def summary_document(comparison: Comparison, folder: Path) -> dict[str, Any]:
    """Return the document of `--json`: summary and verdicts by row, what is missing, and where the files are."""
    return {
        "schema": 1,
        "name": comparison.name,
        "folder": str(folder),
        "report": str(folder / "report.html"),
        "question": comparison.question,
        "baseline": comparison.baseline,
        "target": comparison.target,
        "missing": comparison.missing,
        "summary": json.loads(comparison.summary.to_json(orient="records")),
        "verdicts": json.loads(comparison.verdicts.to_json(orient="records")),
        "claims": [_claim(verdict) for verdict in comparison.claims_judged],
        "notes": list(document_of(comparison).notes),
    }


def _claim(verdict: ClaimVerdict) -> dict[str, Any]:
    claim = verdict.claim
    return {
        "claim": claim.text,
        "metric": claim.metric,
        "better": claim.better,
        "than": claim.than,
        "status": verdict.status,
        "effect": verdict.effect,
        "low": verdict.interval.low if verdict.interval else None,
        "high": verdict.interval.high if verdict.interval else None,
        "confidence": verdict.confidence,
        "p": verdict.p,
        "n": verdict.n,
        "rates": verdict.rates,
        "text": verdict.text,
    }


def show_list(lines: Sequence[str]) -> None:
    """Print sentences, each behind a dot."""
    for line in lines:
        console.show_text(f"· {line}")


def show_folded(title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose first column, the names, is folded into what the numbers leave of the terminal."""
    broken = [header.replace(" (", "\n(") for header in headers]
    for split in (False, True):
        cells = [[_lines(cell, split=split) for cell in row[1:]] for row in rows]
        room = _room(broken[1:], cells)
        if room >= NAME:
            break
    if room < LEAST:
        console.show_stacked(title, headers, rows)
        return
    names = _folded([row[0] for row in rows], max(room, len("initialization")))
    physical = [line for name, row in zip(names, cells, strict=True) for line in zip_longest(name, *row, fillvalue="")]
    console.show_numbers(title, broken, physical)


def _lines(cell: str, *, split: bool) -> list[str]:
    """Return a cell in one line or, if `split`, its interval or count in a second: `137 (10/10)`, `[53, 172]`."""
    interval = re.fullmatch(r"(.*?) (\[.*?[\])])(.*)", cell)
    count = re.fullmatch(r"(.* ± .*) (\(.*\))", cell)
    if split and interval:
        return [interval[1] + interval[3], interval[2]]
    return [count[1], count[2]] if split and count else [cell]


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
