"""Tables as people read them: the same cells for the terminal, Markdown and the report; and frames as CSV."""

import csv
import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

from initbench.analysis.panels import Panel
from initbench.analysis.results import Results
from initbench.analysis.statistics.survival import Survival
from initbench.analysis.summary import MEANS
from initbench.core.text import printable, spreadsheet
from initbench.report.sheets import NOTHING, Sheet, across_remark, across_sheet, ends, evidence_sheets
from initbench.report.verdict_lines import verdict_head, verdict_lines

WITH_INITIALIZATION = "initialization included (steps / time)"


@dataclass(frozen=True)
class DisplayTable:
    """One panel's table and verdicts, ready to be shown: every cell and line is plain text without control characters.

    `head` names the baseline, `lines` hold a verdict each, `evidence` the numbers behind them.
    """

    setting: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    head: str
    lines: tuple[str, ...]
    evidence: tuple[Sheet, ...]


def display_rows(comparison: Results) -> tuple[DisplayTable, ...]:
    """Return one table per panel; the terminal, summary.md and the report show these very cells and lines."""
    return tuple(_display(comparison, panel) for panel in comparison.panels)


def across_rows(comparison: Results) -> tuple[Sheet, ...]:
    """Return what each scheme does over several settings, nothing where there are none."""
    return tuple(across_sheet(of) for of in comparison.across)


def across_remarks(comparison: Results) -> tuple[str, ...]:
    """Return what a reader of `across_rows` must know of their intervals."""
    return tuple(dict.fromkeys(remark for of in comparison.across if (remark := across_remark(of))))


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """Return a frame as UTF-8 CSV: numbers in full precision, the missing empty, no text that a spreadsheet runs."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(frame.columns)
    writer.writerows(zip(*(_csv_cells(frame[column]) for column in frame), strict=True))
    return file.getvalue().encode()


def _csv_cells(column: pd.Series) -> NDArray[np.object_]:
    """Return a column's cells as text. Each value is put into words once: most stand in many rows."""
    is_float = column.dtype == np.float64
    # Floats are told apart by their bits: 0.0 and -0.0 are equal, but are not written alike.
    codes, values = pd.factorize(column.to_numpy().view(np.int64) if is_float else column)
    write = repr if is_numeric_dtype(column) else spreadsheet
    texts = [*map(write, (values.view(np.float64) if is_float else values).tolist()), ""]
    cells = np.array(["" if is_float and text == "nan" else text for text in texts], dtype=object)
    return np.asarray(cells.take(codes), dtype=np.object_)  # a code of -1, the missing, takes the last cell


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


def _display(comparison: Results, panel: Panel) -> DisplayTable:
    survivals, judged = comparison.survivals[panel], comparison.judgements[panel]
    # The summary goes by setting: schemes at an lr of their own would stand in the order of those.
    by_scheme = {row["scheme"]: row for row in panel.rows(comparison.summary).to_dict("records")}
    rows = [by_scheme[scheme] for scheme in survivals]
    failed = any(row["failed"] for row in rows)
    rates = panel.rule == "own lr"
    costly = any(row["initialization_steps"] > 0 for row in rows)
    columns = [_cells(row, comparison.baseline, survivals[row["scheme"]], costly=costly) for row in rows]
    return DisplayTable(
        setting=printable(str(panel)),
        headers=("scheme", *["lr"] * rates, *_headers(comparison, panel, costly=costly), *["failed"] * failed),
        rows=tuple(
            (cells[0], *[f"{row['lr']:g}"] * rates, *cells[1:], *[str(row["failed"])] * failed)
            for row, cells in zip(rows, columns, strict=True)
        ),
        head=verdict_head(judged, comparison.baseline),
        lines=verdict_lines(judged),
        evidence=evidence_sheets(judged, survivals, comparison.baseline),
    )


def _headers(comparison: Results, panel: Panel, *, costly: bool) -> tuple[str, ...]:
    classes = next(record.data.classes for record in comparison.records if record.trial.dataset == panel.dataset)
    loss = f"loss at step 0 (ln {classes} = {math.log(classes):.3f})"
    return "learned", "steps to target", *[WITH_INITIALIZATION] * costly, "test accuracy", loss, "diverged"


def _cells(row: dict[Any, Any], baseline: str, survival: Survival, *, costly: bool) -> tuple[str, ...]:
    return (
        printable(row["scheme"]) + (" (baseline)" if row["scheme"] == baseline else ""),
        f"{row['learned']}/{row['n']}",
        _steps_cell(row, survival),
        *[_whole_cost_cell(row)] * costly,
        _mean_of(row, "test_accuracy"),
        _mean_of(row, "initial_loss"),
        str(row["diverged"]),
    )


def _mean_of(row: dict[Any, Any], column: str) -> str:
    return mean_cell(row[column], row[f"{column}_low"], row[MEANS[column]], row["n"])


def _steps_cell(row: dict[Any, Any], survival: Survival) -> str:
    watched = row["n"] - row["failed"]
    median = row["steps_to_target"]
    if watched == 0:
        return f"{NOTHING} (0/0)"
    if pd.isna(median):
        return f"{'not by half' if row['reached'] else 'never'} ({row['reached']}/{watched})"
    between = survival.median.interval
    said = f"{median}" if between is None else f"{median} {ends(between.low, between.high, 0)}"
    return f"{said} ({row['reached']}/{watched})"


def _whole_cost_cell(row: dict[Any, Any]) -> str:
    if pd.isna(row["steps_with_initialization"]):
        return NOTHING
    return f"{row['steps_with_initialization']:.0f} / {row['seconds_with_initialization']:.2g} s"


def _decimals(half: float) -> int:
    """Show at least one digit of the half-width, and three decimals where that is more."""
    return min(max(3, -math.floor(math.log10(half))), 8)


def _number(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}" if abs(value) < 1e5 else f"{value:.3g}"
