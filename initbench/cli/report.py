"""`initbench report`: rebuild tables, plots and report.html from stored results."""

from pathlib import Path

import typer

from initbench.cli import console, options

MOST = 100_000  # trials, beyond which their curves and layers take more memory than most machines have


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

    Figures for a paper are written to paper/, those for the screen, which the report shows, to plots/. Above 100,000
    trials only trials.csv and summary.csv are written, from records read one by one.
    """
    with console.gc_frozen():
        import scipy.stats  # noqa: F401 - imported later, outside gc_frozen, it would take twice as long

        from initbench.cli.present import show_document, summary_document
        from initbench.comparison import load
        from initbench.records.manifest import latest, read_manifest
        from initbench.report.document import document_of
        from initbench.report.folder import figures_meanwhile, write_document

        folder = folder or latest(out)
        if len(read_manifest(folder).every) > MOST:
            report_outline(folder, json=json, quiet=quiet)
            return
        comparison = load(folder)
    console.name_damaged(comparison.damaged)
    asked = options.figures(style, formats)
    with figures_meanwhile(comparison, asked) as drawn:
        document = document_of(comparison)
        if json:
            console.show_json(summary_document(document, folder))
        else:
            show_document(document, quiet=quiet)
        # Last: a folder of somebody else's can be read where it cannot be written.
        write_document(folder, document, drawn, asked)
    if not quiet:
        if style == "paper":
            console.show_path("paper", folder / "paper")
        console.show_path("report", folder / "report.html")
    if open_report:
        typer.launch((folder / "report.html").resolve().as_uri())


def report_outline(folder: Path, *, json: bool, quiet: bool) -> None:
    """Write and show the tables of trials of a comparison too large for a page."""
    from initbench.cli.present import rows_of
    from initbench.comparison import outline
    from initbench.report.folder import write_outline

    outlined = outline(folder)
    console.name_damaged(outlined.damaged)
    console.notice(f"more than {MOST:,} trials: summary.csv and trials.csv only, no curves, layers, figures or page.")
    if outlined.missing:
        console.notice(f"{outlined.missing:,} planned trials are not stored.")
    if json:
        summary = rows_of(outlined.summary)
        console.show_json({"schema": 1, "name": folder.name, "missing": outlined.missing, "summary": summary})
    write_outline(folder, outlined)
    if not quiet:
        console.show_path("summary", folder / "summary.csv")
