"""A comparison's own folder: derived from the records, rebuilt at will, the same bytes each time."""

from collections.abc import Mapping
from pathlib import Path

from initbench.analysis.comparison import Comparison
from initbench.analysis.figures import pictures
from initbench.analysis.files import tables_of
from initbench.analysis.freshness import begin, remember, remove_stale
from initbench.analysis.report import render_report
from initbench.analysis.style import SCREEN, USUAL, Files
from initbench.inside import stay_inside
from initbench.store import sweep, write_atomically


def write_folder(folder: Path, comparison: Comparison, *, draw: bool = True, asked: Files = USUAL) -> None:
    """Write trials.csv, curves.csv, layers.csv, summary.csv, verdicts.csv, summary.md, plots/ and report.html.

    With tuned learning rates also tuning.csv, the trials that they were chosen from, in the columns of trials.csv. With
    `draw` False there are no figures, and the folder does not count as whole. The figures of plots/ are those `asked`
    for, of the page always those for a screen.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    drawn = list(pictures(comparison)) if draw else []
    files = tables_of(comparison)
    files["report.html"] = render_report(comparison, drawn, list(files), files, asked.formats).encode()
    if draw and asked.style != SCREEN:
        drawn = list(pictures(comparison, asked.style))
    for picture in drawn:
        files |= picture.files(asked.formats)
    write_files(folder, files)
    if draw:
        remember(folder, comparison, [folder / name for name in files], asked)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
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
