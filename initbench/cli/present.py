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
    console.out.print(introduction(comparison), soft_wrap=False)
    for table in display_rows(comparison):
        console.out.print()
        console.show_numbers(table.setting, table.headers, table.rows)
    console.out.print()
    for note in notes(comparison):
        console.out.print(f"· {note}", soft_wrap=False)


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
