"""A comparison as a notebook shows it: a fragment of HTML without script, its figures as PNG."""

import base64
from collections.abc import Iterator

from initbench.analysis.results import Results
from initbench.report.document import document_of
from initbench.report.figures.comparison import pictures
from initbench.report.page.template import fragment

SHOWN = ("loss", "accuracy")
PIXELS = 92.0  # an inch of figure, so that two figures of unlike width have letters of one size


def notebook_html(comparison: Results) -> str:
    """Return what was asked, a table and the verdicts per setting, loss and accuracy of the first, and the notes."""
    return fragment(
        "notebook.html.j2",
        document=document_of(comparison),
        figures=list(_figures(comparison)),
        missing=comparison.missing,
    )


def _figures(comparison: Results) -> Iterator[tuple[str, int, str]]:
    """Yield caption, width in pixels and data URI; PNG, since where notebooks are shown SVG is often cut out."""
    wanted = list(SHOWN)
    for picture in pictures(comparison):
        kind = picture.name.partition("-")[0]
        if kind in wanted:
            wanted.remove(kind)
            width = round(PIXELS * picture.figure.get_figwidth())
            yield picture.caption, width, f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
        if not wanted:
            return
