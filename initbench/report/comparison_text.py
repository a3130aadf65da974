"""A comparison as plain text for Python's prompt: its answer, with the columns that fit a line."""

from initbench.report.document import Document
from initbench.report.tables import AGAINST, PanelTable
from initbench.report.text_table import text_table

WIDE = {AGAINST}  # columns that the prompt leaves out


def comparison_text(document: Document) -> str:
    """Return the answer, a small table per setting, and where the numbers are."""
    several = len(document.tables) > 1
    tables = [f"{panel.setting}\n{_small(panel)}" if several else _small(panel) for panel in document.tables]
    missing = document.results.missing
    lacking = [f"{missing} trials are not stored."] if missing else []
    more = "DataFrames: .summary .verdicts .verdicts_full .trials .curves .layers; .report(path) writes the page."
    return "\n\n".join(["\n".join(document.answers), *tables, "\n".join([*lacking, more])])


def _small(panel: PanelTable) -> str:
    kept = [place for place, header in enumerate(panel.headers) if header not in WIDE]
    headers, *rows = ([line[place] for place in kept] for line in (panel.headers, *panel.rows))
    return text_table(headers, rows)
