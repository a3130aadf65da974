"""The tables of a comparison as files, by their names."""

from initbench.analysis.results import Results
from initbench.report.markdown import summary_markdown
from initbench.report.tables import csv_bytes


def tables_of(comparison: Results) -> dict[str, bytes]:
    """Return every table as CSV, and the summary as a page of Markdown.

    With tuned learning rates there is tuning.csv too, the trials that they were chosen from, in the columns of
    trials.csv.
    """
    files = {
        "trials.csv": csv_bytes(comparison.trials),
        "curves.csv": csv_bytes(comparison.curves),
        "layers.csv": csv_bytes(comparison.layers),
        "summary.csv": csv_bytes(comparison.summary),
        "verdicts.csv": csv_bytes(comparison.verdicts),
        "summary.md": summary_markdown(comparison).encode(),
    }
    return files | ({"tuning.csv": csv_bytes(comparison.tuning_trials)} if comparison.tuning else {})
