"""A comparison on stdout: the table that people read, or the JSON document that programs read."""

import json
from pathlib import Path
from typing import Any

from initbench.analysis.comparison import Comparison
from initbench.analysis.sentences import introduction, notes
from initbench.analysis.tables import display_rows
from initbench.cli import console


def show_comparison(comparison: Comparison) -> None:
    """Print what was asked, a table per setting, and what a reader must know."""
    console.show_text(introduction(comparison))
    for table in display_rows(comparison):
        console.show_text()
        console.show_numbers(table.setting, table.headers, table.rows)
    console.show_text()
    for note in notes(comparison):
        console.show_text(f"· {note}")


def summary_document(comparison: Comparison, folder: Path) -> dict[str, Any]:
    """Return the document of `--json`: the summary's rows, what is missing, and where everything lies."""
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
        "notes": list(notes(comparison)),
    }
