"""The table of each panel as people read it: the same cells for the terminal, Markdown, LaTeX and the page."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from initbench.analysis.panels import Panel
from initbench.analysis.results import Results
from initbench.analysis.statistics.intervals import Estimate
from initbench.analysis.statistics.survival import Survival
from initbench.analysis.summary import MEANS
from initbench.core.text import printable
from initbench.report.cells import NOTHING, Table, interval, mean_cell, percent
from initbench.report.verdict_lines import grouped_lines, verdict_head, verdict_lines
from initbench.report.verdict_tables import across_remark, across_table, difference_cell, numbers_behind

Row = dict[Any, Any]
AGAINST = "against baseline (points)"
WITH_INITIALIZATION = "including initialization (steps / time)"


@dataclass(frozen=True)
class _Column:
    """A column: what it shows of a row of the summary, and whether the rows `need` it."""

    header: str
    cell: Callable[[Row], str]
    needed: Callable[[Sequence[Row]], bool] = lambda _rows: True


@dataclass(frozen=True)
class PanelTable:
    """One panel's table and verdicts, ready to be shown: every cell and line is plain text without control characters.

    The schemes are in the order of `analysis.best`. `head` names the baseline, `groups` hold the verdicts by kind,
    `lines` a verdict each, `numbers` the numbers behind them.
    """

    setting: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    head: str
    groups: tuple[str, ...]
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
    rows = _ranked_rows(comparison, panel)
    columns = [column for column in _columns(comparison, panel) if column.needed(rows)]
    return PanelTable(
        setting=printable(str(panel)),
        headers=tuple(column.header for column in columns),
        rows=tuple(tuple(column.cell(row) for column in columns) for row in rows),
        head=verdict_head(judged, comparison.baseline),
        groups=grouped_lines(judged),
        lines=verdict_lines(judged),
        numbers=(_beginnings(comparison, panel, rows), *numbers_behind(judged, survivals, comparison.baseline)),
    )


def _beginnings(comparison: Results, panel: Panel, rows: Sequence[Row]) -> Table:
    """Return the losses at step 0, beside that of a network that gives all classes the same probability."""
    classes = next(record.data.classes for record in comparison.records if record.trial.dataset == panel.dataset)
    return Table(
        caption="Before training and at the end",
        headers=("scheme", "trials", f"loss at step 0 (ln {classes} = {math.log(classes):.3f})", "diverged", "failed"),
        rows=tuple(
            (
                printable(row["scheme"]),
                str(row["n"]),
                _mean_of(row, "initial_loss"),
                str(row["diverged"]),
                str(row["failed"]),
            )
            for row in rows
        ),
    )


def _ranked_rows(comparison: Results, panel: Panel) -> list[Row]:
    by_scheme = {row["scheme"]: row for row in panel.rows(comparison.summary).to_dict("records")}
    return [by_scheme[scheme] for scheme in comparison.best[panel].ranked]


def _columns(comparison: Results, panel: Panel) -> Iterator[_Column]:
    survivals, small = comparison.survivals[panel], panel.dataset in comparison.too_small
    baseline = comparison.baseline
    judged = {judgement.scheme: judgement for judgement in comparison.judgements[panel] if not judgement.absent}
    yield _Column("scheme", lambda row: printable(row["scheme"]) + " (baseline)" * (row["scheme"] == baseline))
    if panel.rule == "own lr":
        yield _Column("lr", lambda row: f"{row['lr']:g}")
    yield _Column("learned", lambda row: f"{NOTHING if small else row['learned']}/{row['n']}")
    target = percent(comparison.targets[panel.dataset].accuracy)
    yield _Column(f"steps to {target}", lambda row: _steps_cell(row, survivals[row["scheme"]]))
    yield _Column(WITH_INITIALIZATION, _whole_cost_cell, _any_positive("initialization_steps"))
    yield _Column("test accuracy", lambda row: _mean_of(row, "test_accuracy"))
    if judged:
        yield _Column(AGAINST, lambda row: difference_cell(judged.get(row["scheme"])))
    yield _Column("diverged", lambda row: str(row["diverged"]), _any_positive("diverged"))
    yield _Column("failed", lambda row: str(row["failed"]), _any_positive("failed"))


def _any_positive(name: str) -> Callable[[Sequence[Row]], bool]:
    return lambda rows: any(row[name] > 0 for row in rows)


def _mean_of(row: Row, column: str) -> str:
    mean, n = row[column], row[MEANS[column]]
    return mean_cell(Estimate(mean, None if n < 2 else mean - row[f"{column}_low"], n), row["n"])


def _steps_cell(row: Row, survival: Survival) -> str:
    watched = row["n"] - row["failed"]
    median = row["steps_to_target"]
    if watched == 0:
        return f"{NOTHING} (0/0)"
    if pd.isna(median):
        return f"{f'> {survival.budget:g}' if row['reached'] else 'never'} ({row['reached']}/{watched})"
    between = survival.median.interval
    said = f"{median}" if between is None else f"{median} {interval(between.low, between.high, 0)}"
    return said if row["reached"] == watched else f"{said} ({row['reached']}/{watched})"


def _whole_cost_cell(row: Row) -> str:
    if pd.isna(row["steps_with_initialization"]):
        return NOTHING
    return f"{row['steps_with_initialization']:.0f} / {row['seconds_with_initialization']:.2g} s"
