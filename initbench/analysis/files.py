"""The tables of a comparison as files, by their names."""

from initbench.analysis.comparison import Comparison
from initbench.analysis.markdown import summary_markdown
from initbench.analysis.tables import csv_bytes


def tables_of(comparison: Comparison) -> dict[str, bytes]:
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
