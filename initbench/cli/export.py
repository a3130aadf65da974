"""`initbench export`: the summary for other tools."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.text import Text

from initbench.cli import console, options


@console.command
def export(
    to: Annotated[Literal["csv", "markdown", "latex", "json"], typer.Option("--to", help="The format.")],
    folder: options.Folder = None,
    output: Annotated[Path | None, typer.Option("--output", help="A file to write. Default: stdout.")] = None,
    out: options.Out = options.OUT,
) -> None:
    """Write a comparison's summary as CSV, Markdown, LaTeX (booktabs) or JSON; trains nothing and needs no torch."""
    from initbench.analysis import exports
    from initbench.cli.present import summary_document
    from initbench.folder import latest, load
    from initbench.store import write_atomically

    folder = folder or latest(out)
    comparison = load(folder)
    console.name_damaged(comparison.damaged)
    content = exports.export(comparison, to, summary_document(comparison, folder))
    if output is None:
        # As text of rich's own: no markup, no emoji codes, no folding.
        console.out.print(Text(content.decode()), soft_wrap=True, end="")
    else:
        write_atomically(output, content)
        console.show_path("export", output)
