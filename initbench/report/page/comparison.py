"""The page of a comparison: one self-contained HTML file, which loads nothing from the network."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path

from initbench.analysis.results import Results
from initbench.core.text import printable
from initbench.records.store import write_atomically
from initbench.report.analysis_plan import analysis_plan
from initbench.report.definitions import DEFINITIONS
from initbench.report.document import Document, document_of
from initbench.report.figures.comparison import leading_drawing, looks_of, pictures
from initbench.report.figures.leading import leading_kind
from initbench.report.figures.picture import Picture, file_of
from initbench.report.figures.style import PAPER, SCREEN
from initbench.report.page.downloads import downloads
from initbench.report.page.inline_figures import LINKED, Inlined, kind_of, narrow_svg, within_budget
from initbench.report.page.palette import swatches
from initbench.report.page.template import page
from initbench.report.step_zero import step_zero_section
from initbench.report.table_files import tables_of

# Bytes of figures in a report, and of figures and tables together: under 2 MB with the rest, which a mail takes and a
# phone opens.
FIGURES_BUDGET = 1_300_000
BUDGET = 1_850_000

# The order in which a reader meets figures. What is of no kind named here stands last.
_CHAPTERS = (
    ("curves", "Learning curves", ("loss", "loss_linear", "accuracy")),
    ("steps", "Steps to the target", ("survival", "steps_to_target")),
    ("accuracy", "Test accuracy", ("final_accuracy", "profile")),
    ("rates", "Learning rates", ("lr",)),
    ("signal", "Signal by layer", ("signal",)),
)
_KNOWN = frozenset(kind for _, _, kinds in _CHAPTERS for kind in kinds)


@dataclass(frozen=True)
class Chapter:
    """Figures of one question under a title; each plate is one figure, or one drawn with either axis."""

    id: str
    title: str
    plates: tuple[tuple[Inlined, ...], ...]


def write_report(path: Path, comparison: Results) -> Path:
    """Write the report to `path`, its figures and tables inside it as far as they fit, else linked if they are beside.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    document = document_of(comparison)
    tables = tables_of(document)
    beside = [name for name in tables if (path.parent / name).exists()]
    narrow = leading_drawing(comparison, PAPER)
    drawn = [*pictures(comparison), *([narrow()] if narrow else [])]
    formats = [
        kind for kind in LINKED if all((path.parent / file_of(picture.name, kind)).exists() for picture in drawn)
    ]
    write_atomically(path, render_report(document, drawn, beside, tables, formats).encode())
    return path


def render_report(
    document: Document,
    drawn: Iterable[Picture],
    beside: Sequence[str],
    tables: Mapping[str, bytes] | None = None,
    formats: Collection[str] = (),
) -> str:
    """Return the page; `beside` are the names of the tables in its folder, `tables` those to hold where they fit.

    `formats` are those in which the folder holds the figures. Of those `drawn` as for a screen the page shows all, and
    the first also as for paper, which is as narrow as a phone.
    """
    comparison = document.results
    kind, drawn = leading_kind(comparison), list(drawn)
    on_screen = [picture for picture in drawn if picture.style.name == SCREEN.name]
    # Where there are too many the second drawing of a figure is left out first, and the leading one last.
    order = sorted(on_screen, key=lambda each: (kind_of(each.name) != kind, kind_of(each.name) == "loss_linear"))
    figures = tuple(within_budget(order, FIGURES_BUDGET, formats))
    leading = next((figure for figure in figures if figure.kind == kind), None)
    on_paper = [picture for picture in drawn if picture.style.name == PAPER.name]
    narrow = [narrow_svg(each) for each in on_paper if leading and each.name == leading.name]
    left = BUDGET - sum(len(svg.encode()) for svg in (*(figure.svg for figure in figures), *narrow))
    return page(
        "report.html.j2",
        [*(figure.svg for figure in figures), *narrow],
        swatches(looks_of(comparison).values()),
        name=document.title,
        document=document,
        figures=figures,
        before=step_zero_section(("dataset", "model", "scheme"), comparison.step_zero_checks),
        leading=leading and replace(leading, narrow=next(iter(narrow), "")),
        chapters=chapters([figure for figure in figures if figure is not leading]),
        plan=analysis_plan(comparison),
        definitions=DEFINITIONS,
        data=_data(comparison),
        environments=_environments(comparison),
        command=printable(comparison.command),
        downloads=downloads(tables or {}, beside, left),
    )


def chapters(figures: Sequence[Inlined]) -> tuple[Chapter, ...]:
    """Return the figures in the order in which they are read, setting by setting within a chapter."""
    others = tuple(dict.fromkeys(figure.kind for figure in figures if figure.kind not in _KNOWN))
    found = (
        Chapter(name, title, _plates([figure for figure in figures if figure.kind in kinds], kinds))
        for name, title, kinds in (*_CHAPTERS, ("others", "Other figures", others))
    )
    return tuple(chapter for chapter in found if chapter.plates)


def _plates(figures: Sequence[Inlined], kinds: Sequence[str]) -> tuple[tuple[Inlined, ...], ...]:
    settings = list(dict.fromkeys(_setting(figure) for figure in figures))
    order = sorted(figures, key=lambda figure: (settings.index(_setting(figure)), kinds.index(figure.kind)))
    plates = groupby(order, key=lambda figure: (_setting(figure), figure.kind.removesuffix("_linear")))
    return tuple(tuple(plate) for _, plate in plates)


def _setting(figure: Inlined) -> str:
    return figure.name.removeprefix(figure.kind)


def _data(comparison: Results) -> dict[str, str]:
    """Describe each dataset in a sentence; its fingerprint says that two reports saw the same images."""
    return {
        printable(record.trial.dataset): (
            f"{record.data.classes} classes; {record.data.train_size} training, {record.data.val_size} validation and "
            f"{record.data.test_size} test images; always predicting the most frequent class has a "
            f"validation accuracy of {record.data.guess:.3f}; fingerprint {printable(record.trial.fingerprint)}."
        )
        for record in comparison.records
    }


def _environments(comparison: Results) -> list[tuple[int, dict[str, str]]]:
    """Return every environment that trials ran in, with how many did."""
    counts = Counter(record.environment for record in comparison.records)
    return [
        (count, {key: printable(str(value)) for key, value in asdict(environment).items()})
        for environment, count in counts.items()
    ]
