"""`initbench inspect`: what the signal does before the first step, predicted and measured."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from initbench.cli import completion, console, options
from initbench.core.interrupts import command_line

if TYPE_CHECKING:
    from initbench.analysis.step_zero.inspection import Inspection
    from initbench.report.figures.style import Files

Models = Annotated[
    str,
    typer.Option(
        "-m",
        "--model",
        help="A built-in model, a scan such as 'mlp(depth=2..100)', or your own: path/to/file.py:build.",
        autocompletion=completion.model,
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="Made-up inputs in place of a dataset: 3x32x32, or 16:1000 for 16 tokens below 1000; repeatable.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "-d",
        "--dataset",
        help="Whose training images are used; default: digits.",
        autocompletion=completion.dataset,
    ),
]
Seeds = Annotated[str, typer.Option("--seeds", help="A count (5 stands for 0 to 4) or a comma list.")]
DEFAULT_MODEL = "mlp(depth=8, width=64)"


@console.command
def inspect(
    scheme: options.Schemes = None,
    model: Models = DEFAULT_MODEL,
    dataset: Data = None,
    inputs: Inputs = None,
    seeds: Seeds = "5",
    style: options.Style = options.STYLE,
    formats: options.Formats = options.FORMAT,
    data_dir: options.DataDir = None,
    out: options.Out = options.OUT,
    name: options.Name = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    plain: options.Plain = False,  # noqa: ARG001 - `console.command` sees to it
    open_report: options.Open = False,
) -> None:
    """Look at signal and gradient before the first step: will this initialization work in this network, and why not?

    Trains nothing. Figures in plots/ become those asked for and no others; the report shows them for a screen.
    """
    with console.kept():
        from initbench.cli.present_inspection import inspection_document, show_inspection
        from initbench.records.recipe import RunName, Seeds, check_one
        from initbench.running.inspection import ask, default_schemes, folder_of, look, stamp

    count = check_one(Seeds, options.given(seeds=seeds)["seeds"], "--seeds")
    schemes = scheme or default_schemes(model)
    with redirect_stdout(sys.stderr):  # the user's own code may print, and stdout is for data
        asked = ask(model, schemes, count, dataset=dataset, data_dir=data_dir, inputs=inputs or ())
        folder = folder_of(out, asked, check_one(RunName, name, "--name") if name else None)
        with console.status_on(quiet=quiet) as told:
            inspection = look(folder.name, asked, told, command=command_line())
    stamp(folder, asked)
    for notice in inspection.notices if not quiet else ():
        console.notice(notice)
    if json:
        console.show_json(inspection_document(inspection, folder))
    else:
        show_inspection(inspection)
    _write(folder, inspection, options.figures(style, formats), quiet=quiet, open_report=open_report)


def _write(folder: Path, inspection: "Inspection", figures: "Files", *, quiet: bool, open_report: bool) -> None:
    from initbench.report.folder import write_inspection  # loads matplotlib

    write_inspection(folder, inspection, figures)
    if not quiet:
        console.show_path("plots", folder / "plots")
        console.show_path("report", folder / "report.html")
    if open_report:
        typer.launch((folder / "report.html").resolve().as_uri())
