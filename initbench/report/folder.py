"""A comparison's own folder: derived from the records, rebuilt at will, the same bytes each time."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from initbench.analysis.outline import Outline
from initbench.analysis.results import Results
from initbench.analysis.step_zero.inspection import Inspection, checks_table, layers_table, networks_table
from initbench.core.paths import stay_inside
from initbench.records.store import sweep, write_atomically
from initbench.report.document import Document, document_of
from initbench.report.figures.comparison import drawings
from initbench.report.figures.drawing import Drawn, Wanted, drawn_meanwhile
from initbench.report.figures.inspection import inspection_drawings
from initbench.report.figures.picture import Picture
from initbench.report.figures.style import SCREEN, USUAL, Files, Style
from initbench.report.freshness import begin, remember, remember_content, remove_stale
from initbench.report.page.comparison import render_report
from initbench.report.page.inspection import render_inspection
from initbench.report.table_files import Csv, csv_bytes, tables_of


def write_folder(folder: Path, comparison: Results, *, draw: bool = True, asked: Files = USUAL) -> None:
    """Write what is derived from a comparison, as `write_document` does.

    With `draw` False there are no figures, and the folder does not count as whole.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    with figures_meanwhile(comparison, asked) if draw else nullcontext() as drawn:
        write_document(folder, document_of(comparison), drawn, asked)


def figures_meanwhile(comparison: Results, asked: Files = USUAL) -> AbstractContextManager[Drawn]:
    """Draw the figures of a comparison while the block does other things; what it yields waits for them."""
    return drawn_meanwhile(_wanted(partial(drawings, comparison), asked))


def write_document(folder: Path, document: Document, drawn: Drawn | None, asked: Files = USUAL) -> None:
    """Write trials.csv, curves.csv, layers.csv, summary.csv, verdicts.csv, summary.md, plots/ and report.html.

    With tuned learning rates also tuning.csv, the trials that they were chosen from, in the columns of trials.csv. The
    figures of plots/ are those `asked` for, of the page always those for a screen; where `drawn` is None there are
    none, and the folder does not count as whole.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    files = tables_of(document)
    pictures = [] if drawn is None else drawn()
    on_page = [picture for picture in pictures if picture.style.name == SCREEN.name]
    files["report.html"] = render_report(document, on_page, list(files), files, asked.formats).encode()
    for picture in pictures:
        if picture.style.name == asked.style.name:
            files |= picture.files(asked.formats)
    write_files(folder, files)
    if drawn is not None:
        remember(folder, document.results, [folder / name for name in files], asked)


def write_outline(folder: Path, outlined: Outline) -> None:
    """Write trials.csv and summary.csv alone, and remove the figures of an earlier look.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    write_files(folder, {"trials.csv": Csv(outlined.trials), "summary.csv": Csv(outlined.summary)})


def _wanted(drawings: Callable[[Style], Iterable[Callable[[], Picture]]], asked: Files) -> list[Wanted]:
    """Return the figures to draw: those of the page, and those of plots/ where they are of another style."""
    if asked.style == SCREEN:
        return [(draw, (*asked.formats, "svg")) for draw in drawings(SCREEN)]
    screen = [(draw, ("svg",)) for draw in drawings(SCREEN)]
    return [*screen, *((draw, asked.formats) for draw in drawings(asked.style))]


def write_files(folder: Path, files: Mapping[str, bytes | Iterable[bytes]]) -> None:
    """Write files by their names within the folder, and remove the figures of an earlier look that are not among them.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    for name in files:
        stay_inside(folder, folder / name)
    sweep(folder, folder, folder / "plots")
    begin(folder, files)
    for name, data in files.items():
        write_atomically(folder / name, data)
    remove_stale(folder, files)


def write_inspection(folder: Path, inspection: Inspection, asked: Files = USUAL) -> None:
    """Write layers.csv, networks.csv, checks.csv, plots/ and report.html.

    The figures of plots/ are those `asked` for, of the page always those for a screen.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    with drawn_meanwhile(_wanted(partial(inspection_drawings, inspection), asked)) as drawn:
        files = {
            "layers.csv": csv_bytes(layers_table(inspection)),
            "networks.csv": csv_bytes(networks_table(inspection)),
            "checks.csv": csv_bytes(checks_table(inspection)),
        }
        pictures = drawn()
    on_page = [picture for picture in pictures if picture.style.name == SCREEN.name]
    files["report.html"] = render_inspection(inspection, on_page, list(files), asked.formats).encode()
    for picture in pictures:
        if picture.style.name == asked.style.name:
            files |= picture.files(asked.formats)
    write_files(folder, files)
    remember_content(folder, files)
