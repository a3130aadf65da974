"""The command line: one file per command; `console` is the only module that prints.

This module is loaded by `initbench --help` and by shell completion, so it imports no torch, pandas, matplotlib or
scipy; each command imports what it needs when it runs.
"""

import os
import platform
import sys
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from initbench.cli.building import built
from initbench.cli.check import check
from initbench.cli.compare import compare
from initbench.cli.console import errors_reported
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
from initbench.cli.streams import guard_streams
from initbench.errors import ConfigurationError


class Program(TyperGroup):
    """The program: it builds a command when that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:  # noqa: ANN401 - typer's
        """Return the name and the command that `args` begin with, and the rest."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, built(name, *COMMANDS[name]) if name is not None and name in COMMANDS else command, rest


app = typer.Typer(
    name="initbench",
    cls=Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Compare weight-initialization schemes for small PyTorch networks: loss curves, convergence tables, "
        "and confidence intervals.\n\nStart with: initbench compare"
    ),
    epilog=epilog(""),
)


def _show_version(ctx: typer.Context, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:  # parsing for completion
        typer.echo(f"initbench {version('initbench')} ({_torch()}, Python {platform.python_version()})")
        raise typer.Exit


def _torch() -> str:
    """Describe the installed torch and the device it would use."""
    try:
        import torch

        from initbench.training.environment import choose_device, device_name
    except (ImportError, OSError):
        return "torch cannot be imported: see `initbench doctor`"
    device = choose_device("auto")
    return f"torch {torch.__version__}, {device}: {device_name(device)}"


@app.callback()
def program(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show versions and device, and exit."),
    ] = False,
) -> None:
    """Define the program's own options; its help text is given above."""


COMMANDS: dict[str, tuple[Callable[..., None], str]] = {
    "run": (run, "Train one scheme: table, loss curves, plots."),
    "compare": (compare, "Compare schemes: tables, curves, plots, a report."),
    "inspect": (inspect, "Inspect signal and gradient before the first step."),
    "check": (check, "Run the conformance suite on a scheme."),
    "report": (report, "Rebuild tables, plots and report from stored results."),
    "export": (export, "Write a comparison for other tools."),
    "list": (listing, "List schemes, models, datasets, optimizers, schedules, experiments."),
    "doctor": (doctor, "Check this installation and suggest remedies."),
}


def _placeholder() -> None:
    """Stand for a command in the list of all; `Program` builds the command itself when it is called."""


for name, (_, summary) in COMMANDS.items():
    app.command(name, short_help=summary)(_placeholder)
app.add_typer(data, name="data")
app.add_typer(new, name="new")


def main() -> None:
    """Run the command line."""
    guard_streams()
    prepare(os.environ)
    try:
        with errors_reported():
            try:
                _require_folder()
                app(prog_name="initbench")
            finally:
                sys.stdout.flush()  # here a failure is reported; at the end of Python it is a traceback
    except SystemExit as ended:
        if any(thread.name.startswith("initbench") for thread in threading.enumerate()):
            # A trial that hangs in a step did not see the request to stop, and a normal exit would wait for it.
            os._exit(ended.code if isinstance(ended.code, int) else 1)
        raise


def _require_folder() -> None:
    """Raise where the current folder was removed: libraries are then not found, and say so each in its own way."""
    try:
        Path.cwd()
    except OSError:
        raise ConfigurationError("The current folder no longer exists: change to another one.") from None
