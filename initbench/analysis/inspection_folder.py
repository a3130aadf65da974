"""The folder of an inspection: tables, figures and a page, the same bytes each time."""

from pathlib import Path

from initbench.analysis.folder import write_files
from initbench.analysis.inspection import Inspection
from initbench.analysis.inspection_figures import inspection_pictures
from initbench.analysis.inspection_report import render_inspection
from initbench.analysis.inspection_tables import checks_table, layers_table, networks_table
from initbench.analysis.style import SCREEN, USUAL, Files
from initbench.analysis.tables import csv_bytes


def write_inspection(folder: Path, inspection: Inspection, asked: Files = USUAL) -> None:
    """Write layers.csv, networks.csv, checks.csv, plots/ and report.html.

    The figures of plots/ are those `asked` for, of the page always those for a screen.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    drawn = list(inspection_pictures(inspection))
    files = {
        "layers.csv": csv_bytes(layers_table(inspection)),
        "networks.csv": csv_bytes(networks_table(inspection)),
        "checks.csv": csv_bytes(checks_table(inspection)),
    }
    files["report.html"] = render_inspection(inspection, drawn, list(files), asked.formats).encode()
    if asked.style != SCREEN:
        drawn = list(inspection_pictures(inspection, asked.style))
    for picture in drawn:
        files |= picture.files(asked.formats)
    write_files(folder, files)
