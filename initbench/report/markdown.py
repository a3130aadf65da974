"""summary.md: a comparison as a Markdown page."""

from collections.abc import Iterator, Sequence

from initbench.analysis.results import Results
from initbench.core.text import markdown
from initbench.report.sections import sections
from initbench.report.sentences import introduction, notes
from initbench.report.sheets import Sheet
from initbench.report.tables import DisplayTable, across_remarks, across_rows, display_rows


def summary_markdown(comparison: Results) -> str:
    """Return the page: what was asked, a table and verdicts per setting, what else was asked for, notes."""
    parts = [f"# {markdown(comparison.name)}", markdown(introduction(comparison))]
    for display in display_rows(comparison):
        parts += _setting(display)
    if comparison.across:
        parts += ["## Across settings", *_sheets(across_rows(comparison))]
    for section in sections(comparison):
        parts += [f"## {section.title}", _list(section.lines), *_sheets(section.sheets)]
    parts.append(_list((*across_remarks(comparison), *notes(comparison))))
    return "\n\n".join(part for part in parts if part) + "\n"


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of a name and numbers, its text escaped."""
    lines = [headers, ("---",) + ("--:",) * (len(headers) - 1), *rows]
    cells = [line if i == 1 else tuple(markdown(cell) for cell in line) for i, line in enumerate(lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _setting(display: DisplayTable) -> Iterator[str]:
    yield from (f"## {markdown(display.setting)}", markdown(display.head), _list(display.lines))
    yield markdown_table(display.headers, display.rows)
    yield from _sheets(display.evidence)


def _sheets(sheets: Sequence[Sheet]) -> Iterator[str]:
    for sheet in sheets:
        yield from (f"{markdown(sheet.caption)}:", markdown_table(sheet.headers, sheet.rows))


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {markdown(line)}" for line in lines)
