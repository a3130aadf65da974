"""summary.md: a comparison as a Markdown page."""

from collections.abc import Iterator, Sequence

from initbench.core.text import markdown
from initbench.report.cells import Table
from initbench.report.document import Document
from initbench.report.tables import PanelTable


def summary_markdown(document: Document) -> str:
    """Return the page: what was asked, a table and verdicts per setting, what else was asked for, notes."""
    parts = [f"# {markdown(document.title)}", *map(markdown, document.answers), markdown(document.introduction)]
    for panel in document.tables:
        parts += _setting(panel)
    if document.across:
        parts += ["## Across settings", *_tables(document.across)]
    for section in document.sections:
        parts += [f"## {section.title}", _list((*section.lines, *section.rules)), *_tables(section.tables)]
    parts.append(_list((*document.remarks, *document.notes)))
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of a name and numbers, its text escaped."""
    lines = [headers, ("---",) + ("--:",) * (len(headers) - 1), *rows]
    cells = [line if i == 1 else tuple(markdown(cell) for cell in line) for i, line in enumerate(lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _setting(panel: PanelTable) -> Iterator[str]:
    yield f"## {markdown(panel.setting)}"
    yield markdown_table(panel.headers, panel.rows)
    yield from (markdown(panel.head), _list(panel.lines))
    yield from _tables(panel.numbers)


def _tables(tables: Sequence[Table]) -> Iterator[str]:
    for table in tables:
        yield from (f"{markdown(table.caption)}:", markdown_table(table.headers, table.rows))


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown(line)}" for line in lines)
