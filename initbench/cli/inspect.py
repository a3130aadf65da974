"""`initbench inspect`: signal and gradient before the first step, predicted and measured."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from initbench.cli import completion, console, options
from initbench.cli.axes import numbers
from initbench.cli.panels import QUESTION
from initbench.core.interrupts import command_line

if TYPE_CHECKING:
    from initbench.cli.inspected import Inspected
    from initbench.report.figures.style import Files
    from initbench.running.asked import Asked

Schemes = Annotated[
    list[str] | None,
    typer.Option(
        "-s",
        "--scheme",
        help="Initialization scheme: a name, or parts such as 'conv=orthogonal; bias=zeros'. Repeatable.",
        metavar="SCHEME",
        rich_help_panel=QUESTION,
        autocompletion=completion.scheme,
    ),
]
Models = Annotated[
    str,
    typer.Option(
        "-m",
        "--model",
        help="Built-in model, a scan such as 'mlp(depth=2..100)', or your own: path/to/file.py:build.",
        metavar="MODEL",
        rich_help_panel=QUESTION,
        autocompletion=completion.model,
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="Synthetic inputs instead of a dataset: 3x32x32, or 16:1000 for 16 tokens below 1000. Repeatable.",
        metavar="SHAPE",
        rich_help_panel=QUESTION,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "-d",
        "--dataset",
        help="Dataset whose training images are used. Default: digits.",
        metavar="DATASET",
        rich_help_panel=QUESTION,
        autocompletion=completion.dataset,
    ),
]
Seeds = Annotated[
    str,
    typer.Option(
        "--seeds",
        help="Seeds to draw with: a count (5 means 0 to 4) or a list.",
        metavar="N|SEED,...",
        rich_help_panel=QUESTION,
    ),
]
Name = Annotated[str | None, typer.Option("--name", help="Name of the results folder.", metavar="NAME")]
DEFAULT_MODEL = "mlp(depth=8, width=64)"


@console.command
def inspect(
    scheme: Schemes = None,
    model: Models = DEFAULT_MODEL,
    dataset: Data = None,
    inputs: Inputs = None,
    seeds: Seeds = "5",
    style: options.Style = options.STYLE,
    formats: options.Formats = options.FORMAT,
    data_dir: options.DataDir = None,
    out: options.Out = options.OUT,
    name: Name = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    plain: options.Plain = False,  # noqa: ARG001 - read by `console.command`
    open_report: options.Open = False,
) -> None:
    """Inspect signal and gradient before the first step: does this initialization fit this network, and if not, why?

    Trains nothing. Networks are measured in training mode: dropout is on, and batch normalization uses the batch.
    Figures for a paper are written to paper/, those for the screen, which the report shows, to plots/.
    """
    with console.gc_frozen():
        from initbench.cli.inspected import recalled, remember
        from initbench.records.draft import check_one
        from initbench.records.recipe import RunName, Seeds
        from initbench.running.asked import Asked, default_schemes

    count = check_one(Seeds, numbers(seeds, int, "--seeds"), "--seeds")
    name = check_one(RunName, name, "--name") if name else None
    asked = Asked(model, tuple(scheme or default_schemes(model)), count, dataset, data_dir, tuple(inputs or ()))
    with redirect_stdout(sys.stderr):  # user code may print, and stdout is for data
        question = asked.question()
    if question is not None:
        question += repr((command_line(), str(out), str(Path.cwd()), name, style, formats, json))
    found = recalled(question)
    if found is not None:
        found.show(quiet=quiet)
    else:
        found = _inspected(asked, out, name, options.figures(style, formats), json=json, quiet=quiet)
        remember(found, question)
    if style == "paper" and not quiet:
        console.show_path("paper", Path(found.folder) / "paper")
    _show_files(Path(found.folder), quiet=quiet, open_report=open_report)


def _inspected(
    asked: "Asked", out: Path, name: str | None, figures: "Files", *, json: bool, quiet: bool
) -> "Inspected":
    """Measure, print what was found, and draw it meanwhile."""
    from initbench.report.writer import writer

    with writer() as write:
        with console.gc_frozen():
            from initbench.cli.inspected import Inspected
            from initbench.cli.present_inspection import inspection_document, shown_of
            from initbench.running.inspection import (
                inspection_folder,
                plan_inspection,
                run_inspection,
                stamp_inspection,
            )

        with redirect_stdout(sys.stderr):
            plan = plan_inspection(**vars(asked))
            folder = inspection_folder(out, plan, name)
            with console.status_on(quiet=quiet) as show_step:
                inspection = run_inspection(folder.name, plan, show_step, command=command_line())
        stamp_inspection(folder, plan)
        written = write(folder, inspection, figures)
        with console.gc_frozen():
            import pandas as pd  # noqa: F401 - what is shown uses it, and figures are being drawn already
        shown, document = ((), inspection_document(inspection, folder)) if json else (tuple(shown_of(inspection)), None)
        found = Inspected(str(folder), inspection.notices, shown, document)
        found.show(quiet=quiet)
        written()
    return found


def _show_files(folder: Path, *, quiet: bool, open_report: bool) -> None:
    if not quiet:
        console.show_path("plots", folder / "plots")
        console.show_path("report", folder / "report.html")
    if open_report:
        typer.launch((folder / "report.html").resolve().as_uri())
