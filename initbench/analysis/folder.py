"""A comparison's own folder: derived from the records, rebuilt at will, the same bytes each time."""

from pathlib import Path

from initbench.analysis.comparison import Comparison
from initbench.analysis.figures import KINDS, pictures
from initbench.analysis.report import render_report
from initbench.analysis.tables import csv_bytes, summary_markdown
from initbench.store import write_atomically


def write_folder(folder: Path, comparison: Comparison) -> None:
    """Write trials.csv, curves.csv, layers.csv, summary.csv, summary.md, plots/ and report.html.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    tables = {
        "trials.csv": comparison.trials,
        "curves.csv": comparison.curves,
        "layers.csv": comparison.layers,
        "summary.csv": comparison.summary,
    }
    for name, frame in tables.items():
        write_atomically(folder / name, csv_bytes(frame))
    write_atomically(folder / "summary.md", summary_markdown(comparison).encode())
    drawn = list(pictures(comparison))
    for picture in drawn:
        write_atomically(folder / "plots" / f"{picture.name}.png", picture.png)
        write_atomically(folder / "plots" / f"{picture.name}.svg", picture.svg)
    _remove_stale(folder / "plots", {picture.name for picture in drawn})
    page = render_report(comparison, drawn, beside=[*tables, "summary.md"])
    write_atomically(folder / "report.html", page.encode())


def _remove_stale(plots: Path, drawn: set[str]) -> None:
    """Remove figures of an earlier look that this one does not have, and nothing that is not ours."""
    for path in [*plots.glob("*.png"), *plots.glob("*.svg")]:
        if path.stem not in drawn and path.stem.partition("-")[0] in KINDS:
            path.unlink()
