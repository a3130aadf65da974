"""The command line: one command a file; `console` is the only place that prints.

This module is loaded by `initbench --help` and by shell completion, so it imports no torch, pandas, matplotlib or
scipy; each command imports what it needs when it runs.
"""

import os
import sys
import threading
from importlib.metadata import version
from typing import Annotated

import typer

from initbench.cli.check import check
from initbench.cli.compare import compare
from initbench.cli.data import app as data
from initbench.cli.doctor import doctor
from initbench.cli.export import export
from initbench.cli.inspect import inspect
from initbench.cli.listing import listing
from initbench.cli.new import app as new
from initbench.cli.report import report
from initbench.cli.run import run

app = typer.Typer(
    name="initbench",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Compare weight-initialization schemes for small PyTorch networks: loss curves, convergence tables, "
        "and how sure they are.\n\nStart with: initbench compare"
    ),
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"initbench {version('initbench')}")
        raise typer.Exit


@app.callback()
def program(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Hold the options of the program itself; typer shows the help text given above."""


app.command("run")(run)
app.command("compare")(compare)
app.command("inspect")(inspect)
app.command("check")(check)
app.command("report")(report)
app.command("export")(export)
app.command("list")(listing)
app.add_typer(data, name="data")
app.add_typer(new, name="new")
app.command("doctor")(doctor)


def main() -> None:
    """Run the command line."""
    try:
        app(prog_name="initbench")
    except SystemExit as ended:
        if any(thread.name.startswith("initbench") for thread in threading.enumerate()):
            # A trial that makes no step did not hear that it should stop, and leaving in good order would wait for it.
            sys.stdout.flush()
            os._exit(ended.code if isinstance(ended.code, int) else 1)
        raise
