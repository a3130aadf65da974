"""`initbench report`: rebuild tables, plots and report.html from stored results."""

import typer

from initbench.cli import console, options


@console.command
def report(
    folder: options.Folder = None,
    style: options.Style = options.STYLE,
    formats: options.Formats = options.FORMAT,
    out: options.Out = options.OUT,
    json: options.Json = False,
    quiet: options.Quiet = False,
    open_report: options.Open = False,
) -> None:
    """Rebuild a comparison's tables, plots and report from stored results; trains nothing and needs no torch.

    The figures in plots/ are replaced by those requested; the report shows them for the screen.
    """
    with console.gc_frozen():
        import scipy.stats  # noqa: F401 - imported later, outside gc_frozen, it would take twice as long

        from initbench.cli.present import show_comparison, summary_document
        from initbench.comparison import load
        from initbench.records.manifest import latest
        from initbench.report.folder import write_folder

        folder = folder or latest(out)
        comparison = load(folder)
    console.name_damaged(comparison.damaged)
    if json:
        console.show_json(summary_document(comparison, folder))
    else:
        show_comparison(comparison)
    # Last: a folder of somebody else's can be read where it cannot be written.
    write_folder(folder, comparison, asked=options.figures(style, formats))
    if not quiet:
        console.show_path("report", folder / "report.html")
    if open_report:
        typer.launch((folder / "report.html").resolve().as_uri())
