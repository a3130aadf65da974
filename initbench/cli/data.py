"""`initbench data`: list the datasets on disk and download others, verified by hash."""

from typing import Annotated

import typer

from initbench.cli import completion, console, options
from initbench.cli.examples import epilog
from initbench.cli.panels import PanelCommand

app = typer.Typer(no_args_is_help=True, help="List the datasets on disk and download others.")


@app.command("list", epilog=epilog("data list"), cls=PanelCommand)
@console.command
def show(data_dir: options.DataDir = None) -> None:
    """List the datasets and whether each is on disk and intact."""
    from initbench.datasets import DATASETS, default_data_dir, locate

    folder = data_dir or default_data_dir()
    places = [locate(name, folder) for name in DATASETS]
    rows = [(place.name, place.state, str(place.where or ""), place.note) for place in places]
    console.show_table(f"datasets in {folder}", ("dataset", "state", "where", "note"), rows)


@app.command("fetch", epilog=epilog("data fetch"), cls=PanelCommand, short_help="Download a dataset, verified by hash.")
@console.command
def fetch(
    name: Annotated[str, typer.Argument(help="For example mnist.", metavar="NAME", autocompletion=completion.dataset)],
    data_dir: options.DataDir = None,
    quiet: options.Quiet = False,
) -> None:
    """Download a dataset from its mirrors and verify it by hash; an incomplete download is never used."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    from initbench import datasets

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console.err, disable=quiet or not console.is_live()) as progress:
        task = progress.add_task(name, total=None)
        folder = datasets.fetch(name, data_dir, lambda done, total: progress.update(task, completed=done, total=total))
    console.show_path("data", folder)
