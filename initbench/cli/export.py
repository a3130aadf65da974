"""`initbench export`: write a comparison in the formats of other tools."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer
from rich.text import Text

from initbench.cli import console, options
from initbench.errors import UsageError

if TYPE_CHECKING:
    from initbench.comparison import Comparison

# `report.exports` has these names too, but loads pandas.
Format = Literal["csv", "markdown", "latex", "json", "parquet", "tensorboard", "mlflow"]


@console.command
def export(
    to: Annotated[Format, typer.Option("--to", help=f"Format: {', '.join(get_args(Format))}.", metavar="FORMAT")],
    folder: options.Folder = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="File to write; for parquet, tensorboard and mlflow a folder. Default: stdout, or the comparison's "
            "folder under export/.",
            metavar="PATH",
        ),
    ] = None,
    uri: Annotated[
        str | None,
        typer.Option("--uri", help="MLflow server or database, such as http://127.0.0.1:5000.", metavar="URI"),
    ] = None,
    out: options.Out = options.OUT,
) -> None:
    """Export a comparison for other tools; trains nothing and needs no torch.

    csv, markdown, latex (booktabs) and json hold the summary, parquet all tables, tensorboard and mlflow every trial
    with its curves. The last three need an extra of the same name: pip install 'initbench[tensorboard]'.
    """
    from initbench.comparison import load
    from initbench.records.manifest import latest
    from initbench.report import exports

    if uri is not None and (to != "mlflow" or output is not None):
        raise UsageError("--uri goes with --to mlflow and excludes --output: runs are logged to that server.")
    folder = folder or latest(out)
    comparison = load(folder)
    console.name_damaged(comparison.damaged)
    if uri is not None:
        with console.status_on(quiet=False) as show_step:
            show_step(f"logging {len(comparison.records)} trials")
            exports.log_runs(comparison, uri)
        console.say(f"logged to {exports.without_password(uri)}")
    elif to in exports.DOCUMENTS:
        _document(comparison, to, folder, output)
    else:
        _collection(comparison, to, folder, output)


def _document(comparison: "Comparison", to: str, folder: Path, output: Path | None) -> None:
    from initbench.cli.present import summary_document
    from initbench.report import exports
    from initbench.report.document import document_of

    content = exports.export(comparison, to, summary_document(document_of(comparison), folder))
    if output is None:
        # A rich Text is printed verbatim: no markup, no emoji codes, no wrapping.
        console.out.print(Text(content.decode()), soft_wrap=True, end="")
    else:
        _write(output, content)
        console.show_path("export", output)


def _write(output: Path, content: bytes) -> None:
    """Write a file; a device or a pipe, such as /dev/stdout, is written into and not replaced by a file."""
    from initbench.records.store import write_atomically, writing

    parent = Path(os.path.realpath(output.parent))
    stream = output.is_symlink() and any(parent.is_relative_to(root) for root in ("/dev", "/proc"))
    if stream or (output.exists() and not output.is_dir() and not output.is_file()):
        with writing(output):
            output.write_bytes(content)
    else:
        write_atomically(output, content)


def _collection(comparison: "Comparison", to: str, folder: Path, output: Path | None) -> None:
    from initbench.core.paths import stay_inside
    from initbench.report import exports

    if output is None:
        output = folder / "export" / to
        stay_inside(folder, output / "any")
    with console.status_on(quiet=False) as show_step:
        show_step(f"writing {len(comparison.records)} trials")
        exports.COLLECTIONS[to](comparison, output)
    console.show_path("export", output)
