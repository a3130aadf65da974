"""Plain text for Python's prompt: a table, and a comparison as its answer with the columns that fit a line."""

from collections.abc import Sequence

from initbench.report.document import Document
from initbench.report.tables import AGAINST, PanelTable

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


def text_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return columns two blanks apart, the first line the headers.

    >>> print(text_table(("scheme", "learned"), [("zeros", "0/5")]))
    scheme  learned
    zeros   0/5
    """
    lines = [headers, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
