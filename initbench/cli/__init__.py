"""The command line: one command a file; `console` is the only place that prints.

This module is loaded by `initbench --help` and by shell completion, so it imports no torch, pandas, matplotlib or
scipy; each command imports what it needs when it runs.
"""

import io
import os
import platform
import sys
import threading
from importlib.metadata import version
from typing import Annotated

import typer

from initbench.cli.check import check
from initbench.cli.compare import compare
from initbench.cli.data import app as data
from initbench.cli.doctor import doctor
from initbench.cli.examples import epilog
from initbench.cli.export import export
from initbench.cli.inspect import inspect
from initbench.cli.listing import listing
from initbench.cli.new import app as new
from initbench.cli.report import report
from initbench.cli.run import run
from initbench.cli.shells import prepare

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
    epilog=epilog(""),
)


def _show_version(ctx: typer.Context, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:  # as where a line is completed
        typer.echo(f"initbench {version('initbench')} ({_torch()}, Python {platform.python_version()})")
        raise typer.Exit


def _torch() -> str:
    """Say which torch there is and what it would compute on."""
    try:
        import torch

        from initbench.training.environment import choose_device, device_name
    except (ImportError, OSError):
        return "torch does not load: see `initbench doctor`"
    device = choose_device("auto")
    return f"torch {torch.__version__}, {device}: {device_name(device)}"


@app.callback()
def program(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show versions and device, and leave."),
    ] = False,
) -> None:
    """Hold the options of the program itself; typer shows the help text given above."""


for name, command, summary in (
    ("run", run, "Train one scheme: table, loss curves, plots."),
    ("compare", compare, "Compare schemes: tables, curves, plots, a report."),
    ("inspect", inspect, "Look at signal and gradient before the first step."),
    ("check", check, "Hold a scheme against what every scheme must keep."),
    ("report", report, "Rebuild tables, plots and report from what is stored."),
    ("export", export, "Write a comparison for other tools."),
    ("list", listing, "List schemes, models, datasets, optimizers, experiments."),
    ("doctor", doctor, "Show what works here, and what to do where it does not."),
):
    app.command(name, epilog=epilog(name), short_help=summary)(command)
app.add_typer(data, name="data")
app.add_typer(new, name="new")


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without ± shows \xb1, not a traceback
    prepare(os.environ)
    try:
        app(prog_name="initbench")
    except SystemExit as ended:
        if any(thread.name.startswith("initbench") for thread in threading.enumerate()):
            # A trial that makes no step did not hear that it should stop, and leaving in good order would wait for it.
            sys.stdout.flush()
            os._exit(ended.code if isinstance(ended.code, int) else 1)
        raise
