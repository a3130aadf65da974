"""The summary as people read it: the same cells for the terminal, Markdown and the report; and frames as CSV."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from initbench.analysis.comparison import Comparison
from initbench.analysis.sentences import introduction, notes
from initbench.analysis.settings import Setting, settings_of, within
from initbench.analysis.summary import MEANS, SETTING
from initbench.analysis.text import markdown, printable, spreadsheet

NOTHING = "–"


@dataclass(frozen=True)
class DisplayTable:
    """One setting's table, ready to be shown: every cell is plain text without control characters."""

    setting: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def display_rows(comparison: Comparison) -> tuple[DisplayTable, ...]:
    """Return one table per setting; the terminal, summary.md and the report show these very cells."""
    return tuple(_display(comparison, setting) for setting in settings_of(comparison.summary))


def summary_markdown(comparison: Comparison) -> str:
    """Return the comparison as a Markdown page: what was asked, a table per setting, notes."""
    parts = [f"# {markdown(comparison.name)}", markdown(introduction(comparison))]
    for display in display_rows(comparison):
        parts += [f"## {markdown(display.setting)}", _markdown_table(display)]
    parts.append("\n".join(f"- {markdown(note)}" for note in notes(comparison)))
    return "\n\n".join(part for part in parts if part) + "\n"


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """Return a frame as UTF-8 CSV: numbers in full precision, the missing empty, no text that a spreadsheet runs."""
    text = frame.select_dtypes(exclude="number").columns
    safe = frame.assign(**{column: frame[column].map(spreadsheet) for column in text})
    return str(safe.to_csv(index=False, lineterminator="\n")).encode()


def mean_cell(mean: float, low: float, n: int, of: int) -> str:
    """Return a mean with its 95 % interval; n is said wherever it is not the number of trials.

    `of` is the number of trials: where n is smaller, the mean is one of survivors.
    """
    if n == 0:
        return f"{NOTHING} (0/{of})"
    some = f", {n}/{of}" if n < of else ""
    if n == 1:
        return f"{_number(mean, 4)} (n = 1{some})"
    half = mean - low
    if half == 0:
        return f"{_number(mean, 4)} ± 0" + (f" ({n}/{of})" if some else "")
    digits = _decimals(half)
    return f"{_number(mean, digits)} ± {_number(half, digits)}" + (f" ({n}/{of})" if some else "")


def _display(comparison: Comparison, setting: Setting) -> DisplayTable:
    rows = within(comparison.summary, SETTING, setting).to_dict("records")
    failed = any(row["failed"] for row in rows)
    return DisplayTable(
        setting=printable(str(setting)),
        headers=(*_headers(comparison, setting), *(["failed"] if failed else [])),
        rows=tuple((*_cells(row, comparison.baseline), *([str(row["failed"])] if failed else [])) for row in rows),
    )


def _headers(comparison: Comparison, setting: Setting) -> tuple[str, ...]:
    classes = next(record.data.classes for record in comparison.records if record.trial.dataset == setting.dataset)
    loss = f"loss at step 0 (ln {classes} = {math.log(classes):.3f})"
    return "scheme", "learned", "steps to target", "test accuracy", loss, "diverged"


def _cells(row: dict[Any, Any], baseline: str) -> tuple[str, ...]:
    return (
        printable(row["scheme"]) + (" (baseline)" if row["scheme"] == baseline else ""),
        f"{row['learned']}/{row['n']}",
        _steps_cell(row),
        _mean_of(row, "test_accuracy"),
        _mean_of(row, "initial_loss"),
        str(row["diverged"]),
    )


def _mean_of(row: dict[Any, Any], column: str) -> str:
    return mean_cell(row[column], row[f"{column}_low"], row[MEANS[column]], row["n"])


def _steps_cell(row: dict[Any, Any]) -> str:
    watched = row["n"] - row["failed"]
    median = row["steps_to_target"]
    if watched == 0:
        return f"{NOTHING} (0/0)"
    if pd.isna(median):
        return f"{'not by half' if row['reached'] else 'never'} ({row['reached']}/{watched})"
    return f"{median} ({row['reached']}/{watched})"


def _decimals(half: float) -> int:
    """Show at least one digit of the half-width, and three decimals where that is more."""
    return min(max(3, -math.floor(math.log10(half))), 8)


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if abs(value) < 1e5 else f"{value:.3g}"


def _markdown_table(display: DisplayTable) -> str:
    lines = [display.headers, ("---",) + ("--:",) * (len(display.headers) - 1), *display.rows]
    cells = [line if i == 1 else tuple(markdown(cell) for cell in line) for i, line in enumerate(lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
