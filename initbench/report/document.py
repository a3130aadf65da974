"""A comparison as a document: what the terminal, Markdown, LaTeX, the page and a notebook render, each in its way."""

from dataclasses import dataclass

from initbench.analysis.results import Results
from initbench.core.text import printable
from initbench.report.answer import answers
from initbench.report.cells import Table
from initbench.report.sections import Section, sections
from initbench.report.sentences import caveats, introduction, readings
from initbench.report.tables import PanelTable, across_remarks, across_tables, panel_tables


@dataclass(frozen=True)
class Document:
    """What is shown of `results`, in reading order: all of it plain text without control characters.

    `tables` holds one table per panel with its verdicts, `across` those over several settings and `remarks` what limits
    their intervals; `caveats` limit the tables, `readings` explain them.
    """

    results: Results
    title: str
    answers: tuple[str, ...]
    question: str
    introduction: str
    tables: tuple[PanelTable, ...]
    across: tuple[Table, ...]
    remarks: tuple[str, ...]
    sections: tuple[Section, ...]
    caveats: tuple[str, ...]
    readings: tuple[str, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the tables must know, the alarming first."""
        return (*self.caveats, *self.readings)


def document_of(results: Results) -> Document:
    """Return the document of a comparison."""
    return Document(
        results=results,
        title=printable(results.name),
        answers=answers(results),
        question=printable(results.question.rstrip()),
        introduction=introduction(results),
        tables=panel_tables(results),
        across=across_tables(results),
        remarks=across_remarks(results),
        sections=sections(results),
        caveats=caveats(results),
        readings=readings(results),
    )
