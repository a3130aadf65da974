"""Print a comparison: tables and verdicts for people, or the JSON document for programs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from initbench.analysis.best import Best
from initbench.analysis.claims import ClaimVerdict
from initbench.analysis.panels import Panel
from initbench.analysis.results import Results
from initbench.cli.shown import EMPTY, Shown, listed, show
from initbench.report.document import Document


def show_document(document: Document, *, quiet: bool = False) -> None:
    """Print the answer and a table per setting and, unless `quiet`, the verdicts and what limits them."""
    show(shown_of(document, quiet=quiet))


def shown_of(document: Document, *, quiet: bool = False, verbose: bool = False) -> Iterator[Shown]:
    """Yield what is printed of a comparison.

    Args:
        document: what is shown.
        quiet: the answer and the tables alone.
        verbose: also a line per verdict, what was asked, and how to read the tables.
    """
    yield from (Shown(answer, style="bold") for answer in document.answers)
    if document.question and not quiet:
        yield Shown(document.question)
    for panel in document.tables:
        yield from (EMPTY, Shown(panel.setting, headers=panel.headers, rows=panel.rows))
        if not quiet:
            yield from (Shown(panel.head), *listed(panel.lines if verbose else panel.groups))
    if not quiet:
        yield from _more(document, verbose=verbose)


def _more(document: Document, *, verbose: bool) -> Iterator[Shown]:
    for table in document.across:
        yield from (EMPTY, Shown(f"Across settings: {table.caption}", headers=table.headers, rows=table.rows))
    for section in document.sections:
        if section.lines and (section.brief or verbose):
            yield from (EMPTY, Shown(section.title, style="bold"), *listed(section.lines))
            yield from listed(section.rules if verbose else ())
    yield from listed((*document.remarks, *(document.notes if verbose else document.caveats)))
    if verbose:
        yield Shown(document.introduction)


def shown_of_all_pairs(comparison: Results) -> Iterator[Shown]:
    """Yield every scheme against every other; Holm's family is all pairs of a setting."""
    for panel, rows in comparison.all_pairs().groupby("panel", sort=False):
        yield from (EMPTY, Shown(f"All pairs: {panel}; p adjusted by Holm over {len(rows)} pairs", style="bold"))
        yield from listed([f"{row.scheme} against {row.baseline}: {row.accuracy_text}" for row in rows.itertuples()])


def summary_document(document: Document, folder: Path) -> dict[str, Any]:
    """Return what `--json` prints: summary and verdicts by row, what is missing, and where the files are."""
    comparison = document.results
    return {
        "schema": 1,
        "name": comparison.name,
        "folder": str(folder),
        "report": str(folder / "report.html"),
        "question": comparison.question,
        "baseline": comparison.baseline,
        "target": comparison.target,
        "targets": {dataset: target.accuracy for dataset, target in comparison.targets.items()},
        "missing": comparison.missing,
        "answer": list(document.answers),
        "best": [_best(panel, best) for panel, best in comparison.best.items()],
        "summary": rows_of(comparison.summary),
        "verdicts": rows_of(comparison.verdicts_full),
        "claims": [_claim(verdict) for verdict in comparison.claims_judged],
        "notes": list(document.notes),
    }


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows as JSON has them."""
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return rows


def _best(panel: Panel, best: Best) -> dict[str, Any]:
    """Return the schemes that may be the best, in the setting as the verdicts name it."""
    setting = panel.place._asdict()
    return {**setting, "panel": panel.rule, "lr": panel.lr, "schemes": list(best.candidates)}


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
