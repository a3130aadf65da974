"""The options that commands share, declared once; those of a recipe's axes are in `axes`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from initbench.cli import completion
from initbench.cli.panels import PLACE
from initbench.report.figures.style import FORMATS, STYLES, Files


def _known(formats: str) -> str:
    unknown = [part for part in formats.split(",") if part not in FORMATS]
    if unknown:
        raise typer.BadParameter(f"unknown figure format {unknown[0]!r}: choose from {', '.join(FORMATS)}")
    return formats


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="INITBENCH_DATA",
        help="Folder of datasets (torchvision's layout).",
        metavar="DIR",
        rich_help_panel=PLACE,
    ),
]
Out = Annotated[Path, typer.Option("--out", envvar="INITBENCH_OUT", help="Results folder.", metavar="DIR")]
Style = Annotated[
    Literal["screen", "paper"],
    typer.Option("--style", help="Figures for the screen, or as wide as a paper's column.", metavar="screen|paper"),
]
Formats = Annotated[
    str,
    typer.Option("--format", callback=_known, help="File formats of the figures: png, svg, pdf.", metavar="FORMAT,..."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of the table.")]
Plain = Annotated[bool, typer.Option("--plain", help="Plain output: no colour, no live display.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print only the table and errors.")]
Open = Annotated[bool, typer.Option("--open", help="Open the report in a browser.")]
Folder = Annotated[
    Path | None,
    typer.Argument(
        help="Folder of a comparison. Default: the latest.", metavar="DIR", autocompletion=completion.folder
    ),
]

OUT = Path("results")
STYLE: Style = "screen"
FORMAT: Formats = "png,svg"


@dataclass(frozen=True)
class Where:
    """Where trials are trained, and where data and results are."""

    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs", min=1, help="Worker processes. Default: one per core.", metavar="N", rich_help_panel=PLACE
        ),
    ] = None
    executor: Annotated[
        str | None,
        typer.Option(
            "--executor",
            help="Train on a Dask cluster: 'dask' starts workers on this machine; else the scheduler's address or "
            "file. Default: local processes.",
            metavar="ADDRESS",
            rich_help_panel=PLACE,
            autocompletion=completion.executor,
        ),
    ] = None
    shared_folder: Annotated[
        bool,
        typer.Option(
            "--shared-folder/--no-shared-folder",
            help="Whether cluster workers can write to the results folder under the same path. Default: yes.",
            show_default=False,
            rich_help_panel=PLACE,
        ),
    ] = True
    trial_timeout: Annotated[
        float | None,
        typer.Option(
            "--trial-timeout",
            min=1e-3,
            help="Time after which a trial counts as failed. Default: none.",
            metavar="SECONDS",
            rich_help_panel=PLACE,
        ),
    ] = None
    data_dir: DataDir = None
    out: Out = OUT


@dataclass(frozen=True)
class Output:
    """What a run prints and opens, and the conditions under which it fails."""

    json: Json = False
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the grid, how much of it is stored and how long the rest would train."),
    ] = False
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if",
            help="Exit with status 5 if this holds, as in 'a.test_accuracy < b.test_accuracy'. Repeatable.",
            metavar="CONDITION",
        ),
    ] = None
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="Also compare every scheme with every other.")] = False
    quiet: Quiet = False
    verbose: Annotated[
        bool,
        typer.Option("-v", "--verbose", help="Also print device, engines, cost per scheme and files written."),
    ] = False
    open_report: Open = False


def figures(style: Style, formats: Formats) -> Files:
    """Return the figure files to write, each format once."""
    return Files(STYLES[style], tuple(dict.fromkeys(formats.split(","))))
