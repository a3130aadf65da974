"""The tables of a comparison as files, by their names."""

from initbench.report.document import Document
from initbench.report.markdown import summary_markdown
from initbench.report.tables import csv_bytes


def tables_of(document: Document) -> dict[str, bytes]:
    """Return every table as CSV, and the summary as a page of Markdown.

    With tuned learning rates there is tuning.csv too, the trials that they were chosen from, in the columns of
    trials.csv.
    """
    results = document.results
    files = {
        "trials.csv": csv_bytes(results.trials),
        "curves.csv": csv_bytes(results.curves),
        "layers.csv": csv_bytes(results.layers),
        "summary.csv": csv_bytes(results.summary),
        "verdicts.csv": csv_bytes(results.verdicts),
        "summary.md": summary_markdown(document).encode(),
    }
    return files | ({"tuning.csv": csv_bytes(results.tuning_trials)} if results.tuning else {})
