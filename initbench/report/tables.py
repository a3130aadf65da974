"""The table of each panel as people read it: the same cells for the terminal, Markdown, LaTeX and the page."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from initbench.analysis.panels import Panel
from initbench.analysis.results import Results
from initbench.analysis.statistics.intervals import Estimate
from initbench.analysis.statistics.survival import Survival
from initbench.analysis.summary import MEANS
from initbench.core.text import printable
from initbench.report.cells import NOTHING, Table, interval, mean_cell
from initbench.report.verdict_lines import verdict_head, verdict_lines
from initbench.report.verdict_tables import across_remark, across_table, numbers_behind

WITH_INITIALIZATION = "including initialization (steps / time)"


@dataclass(frozen=True)
class PanelTable:
    """One panel's table and verdicts, ready to be shown: every cell and line is plain text without control characters.

    `head` names the baseline, `lines` hold a verdict each, `numbers` the numbers behind them.
    """

    setting: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    head: str
    lines: tuple[str, ...]
    numbers: tuple[Table, ...]


def panel_tables(comparison: Results) -> tuple[PanelTable, ...]:
    """Return one table per panel; the terminal, summary.md and the report show these very cells and lines."""
    return tuple(_display(comparison, panel) for panel in comparison.panels)


def across_tables(comparison: Results) -> tuple[Table, ...]:
    """Return what each scheme does over several settings, nothing where there are none."""
    return tuple(across_table(across) for across in comparison.across)


def across_remarks(comparison: Results) -> tuple[str, ...]:
    """Return what a reader of `across_tables` must know of their intervals."""
    return tuple(dict.fromkeys(remark for across in comparison.across if (remark := across_remark(across))))


def _display(comparison: Results, panel: Panel) -> PanelTable:
    survivals, judged = comparison.survivals[panel], comparison.judgements[panel]
    # The summary goes by setting: schemes at an lr of their own would stand in the order of those.
    by_scheme = {row["scheme"]: row for row in panel.rows(comparison.summary).to_dict("records")}
    rows = [by_scheme[scheme] for scheme in survivals]
    failed = any(row["failed"] for row in rows)
    rates = panel.rule == "own lr"
    costly = any(row["initialization_steps"] > 0 for row in rows)
    small = panel.dataset in comparison.too_small
    columns = [_cells(row, comparison.baseline, survivals[row["scheme"]], costly=costly, small=small) for row in rows]
    return PanelTable(
        setting=printable(str(panel)),
        headers=("scheme", *["lr"] * rates, *_headers(comparison, panel, costly=costly), *["failed"] * failed),
        rows=tuple(
            (cells[0], *[f"{row['lr']:g}"] * rates, *cells[1:], *[str(row["failed"])] * failed)
            for row, cells in zip(rows, columns, strict=True)
        ),
        head=verdict_head(judged, comparison.baseline),
        lines=verdict_lines(judged),
        numbers=numbers_behind(judged, survivals, comparison.baseline),
    )


def _headers(comparison: Results, panel: Panel, *, costly: bool) -> tuple[str, ...]:
    classes = next(record.data.classes for record in comparison.records if record.trial.dataset == panel.dataset)
    loss = f"loss at step 0 (ln {classes} = {math.log(classes):.3f})"
    return "learned", "steps to target", *[WITH_INITIALIZATION] * costly, "test accuracy", loss, "diverged"


def _cells(row: dict[Any, Any], baseline: str, survival: Survival, *, costly: bool, small: bool) -> tuple[str, ...]:
    return (
        printable(row["scheme"]) + (" (baseline)" if row["scheme"] == baseline else ""),
        f"{NOTHING if small else row['learned']}/{row['n']}",
        _steps_cell(row, survival),
        *[_whole_cost_cell(row)] * costly,
        _mean_of(row, "test_accuracy"),
        _mean_of(row, "initial_loss"),
        str(row["diverged"]),
    )


def _mean_of(row: dict[Any, Any], column: str) -> str:
    mean, n = row[column], row[MEANS[column]]
    return mean_cell(Estimate(mean, None if n < 2 else mean - row[f"{column}_low"], n), row["n"])


def _steps_cell(row: dict[Any, Any], survival: Survival) -> str:
    watched = row["n"] - row["failed"]
    median = row["steps_to_target"]
    if watched == 0:
        return f"{NOTHING} (0/0)"
    if pd.isna(median):
        return f"{'under half' if row['reached'] else 'never'} ({row['reached']}/{watched})"
    between = survival.median.interval
    said = f"{median}" if between is None else f"{median} {interval(between.low, between.high, 0)}"
    return f"{said} ({row['reached']}/{watched})"


def _whole_cost_cell(row: dict[Any, Any]) -> str:
    if pd.isna(row["steps_with_initialization"]):
        return NOTHING
    return f"{row['steps_with_initialization']:.0f} / {row['seconds_with_initialization']:.2g} s"
