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
from initbench.report.figures.comparison import drawings, leading_drawing
from initbench.report.figures.drawing import Drawn, Wanted, drawn_meanwhile
from initbench.report.figures.inspection import inspection_drawings
from initbench.report.figures.picture import Picture
from initbench.report.figures.style import PAPER, SCREEN, STYLES, USUAL, Files, Style
from initbench.report.freshness import (
    Seen,
    begin,
    earlier_look,
    kinds_of,
    remember,
    remove_stale,
    state_of,
    state_of_files,
)
from initbench.report.page.comparison import render_report
from initbench.report.page.inspection import inspection_page
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

    With tuned learning rates also tuning.csv, the trials that they were chosen from, in the columns of trials.csv.
    Figures for a paper that are `asked` for lie in paper/ beside plots/. Those of an earlier look at the same records
    stay. Where `drawn` is None there are none, and the folder does not count as whole.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    files = tables_of(document)
    narrow = [] if drawn is None else _narrow(document.results, asked)
    pictures = [] if drawn is None else drawn()
    formats = asked.by_style
    every = [*pictures, *narrow]
    files["report.html"] = render_report(document, every, list(files), files, formats[SCREEN.name]).encode()
    for picture in pictures:
        files |= picture.files(formats[picture.style.name])
    if drawn is None:
        write_files(folder, files)
    else:
        write_whole(folder, files, state_of(document.results), asked)


def write_outline(folder: Path, outlined: Outline) -> None:
    """Write trials.csv and summary.csv alone, and remove the figures of an earlier look.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    write_files(folder, {"trials.csv": Csv(outlined.trials), "summary.csv": Csv(outlined.summary)})


def _narrow(comparison: Results, asked: Files) -> list[Picture]:
    """Draw the first figure of the page as narrow as a phone, if it is not among those `asked` for."""
    draw = None if PAPER.name in asked.by_style else leading_drawing(comparison, PAPER)
    return [draw()] if draw else []


def _wanted(drawings: Callable[[Style], Iterable[Callable[[], Picture]]], asked: Files) -> list[Wanted]:
    """Return the figures to draw: those for the screen, which the page shows, and those for a paper if asked for."""
    return [
        (draw, (*formats, *(("svg",) if style == SCREEN.name else ())))
        for style, formats in asked.by_style.items()
        for draw in drawings(STYLES[style])
    ]


def write_whole(folder: Path, files: Mapping[str, bytes | Iterable[bytes]], state: str, asked: Files) -> None:
    """Write files, keep the figures of an earlier look at the same state, and stamp the folder as whole.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    earlier = earlier_look(folder, state)
    write_files(folder, files, earlier.figures)
    sizes = {name: (folder / name).stat().st_size for name in files}
    remember(folder, state, Seen(earlier.kinds | kinds_of(asked), {**earlier.figures, **sizes}))


def write_files(folder: Path, files: Mapping[str, bytes | Iterable[bytes]], kept: Iterable[str] = ()) -> None:
    """Write files by their names within the folder, and remove figures of earlier looks that are not to be kept.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    for name in files:
        stay_inside(folder, folder / name)
    sweep(folder, folder, *(folder / style.folder for style in STYLES.values()))
    begin(folder, files)
    for name, data in files.items():
        write_atomically(folder / name, data)
    remove_stale(folder, {*files, *kept})


def write_inspection(folder: Path, inspection: Inspection, asked: Files = USUAL) -> None:
    """Write layers.csv, networks.csv, checks.csv, plots/ and report.html.

    Figures for a paper that are `asked` for lie in paper/ beside plots/. Those of an earlier look at the same numbers
    stay.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    formats = asked.by_style
    with drawn_meanwhile(_wanted(partial(inspection_drawings, inspection), asked)) as drawn:
        files = {
            "layers.csv": csv_bytes(layers_table(inspection)),
            "networks.csv": csv_bytes(networks_table(inspection)),
            "checks.csv": csv_bytes(checks_table(inspection)),
        }
        page_of = inspection_page(inspection, list(files), formats[SCREEN.name])
        pictures = drawn()
    files["report.html"] = page_of(picture for picture in pictures if picture.style.name == SCREEN.name).encode()
    state = state_of_files(files)
    for picture in pictures:
        files |= picture.files(formats[picture.style.name])
    write_whole(folder, files, state, asked)
