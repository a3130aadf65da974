"""What a notebook shows: fragments of HTML without script, each with one figure as PNG."""

import base64
import math
from collections.abc import Callable

from initbench.analysis.results import Results
from initbench.analysis.step_zero.inspection import Inspection, verdicts_table
from initbench.core.text import printable
from initbench.report.cells import NOTHING, Table
from initbench.report.document import document_of
from initbench.report.figures.comparison import leading_drawing
from initbench.report.figures.inspection import inspection_drawings
from initbench.report.figures.picture import Picture
from initbench.report.page.template import fragment
from initbench.report.step_zero import step_zero_section
from initbench.report.step_zero_answer import step_zero_answer

PIXELS = 92.0  # an inch of figure, so that two figures of unlike width have letters of one size


def notebook_html(comparison: Results) -> str:
    """Return the answer, a table per setting, the accuracy of the first, and folded the verdicts and notes."""
    return fragment(
        "notebook.html.j2",
        document=document_of(comparison),
        figure=_inlined(leading_drawing(comparison)),
        missing=comparison.missing,
    )


def inspection_html(inspection: Inspection) -> str:
    """Return the answer, a table of verdicts, the signal by layer, and folded what does not pass, with remedies."""
    section = step_zero_section(("model", "scheme"), inspection.checks)
    return fragment(
        "notebook_inspection.html.j2",
        answer=step_zero_answer(inspection),
        table=_verdicts(inspection),
        failing=[reasons for reasons in section.reasons if reasons.findings] if section else [],
        figure=_inlined(next(inspection_drawings(inspection), None)),
        notes=[printable(note) for note in (*inspection.notices, *inspection.not_measured)],
    )


def _verdicts(inspection: Inspection) -> Table:
    several = ["model"] if len(inspection.models) > 1 else []
    rows = verdicts_table(inspection).to_dict("records")
    return Table(
        caption=f"{inspection.source}; factors per layer of E[z²] forward and of ‖∂z‖² backward, 95 % intervals",
        headers=("scheme", *several, "verdict", "signal", "gradient", "fails", "warns"),
        rows=tuple(
            (
                *(printable(row[name]) for name in ("scheme", *several)),
                row["verdict"] or NOTHING,
                *(_factor(*(row[f"{name}{end}"] for end in ("", "_low", "_high"))) for name in ("signal", "gradient")),
                *(row[name] or NOTHING for name in ("fails", "warns")),
            )
            for row in rows
        ),
    )


def _factor(mean: float, low: float, high: float) -> str:
    if not math.isfinite(mean):
        return NOTHING
    return f"×{mean:.3g}" + (f" [{low:.3g}, {high:.3g}]" if math.isfinite(low) else " (one seed)")


def _inlined(draw: Callable[[], Picture] | None) -> tuple[str, int, str] | None:
    """Return caption, width in pixels and data URI; PNG, since where notebooks are shown SVG is often cut out."""
    if draw is None:
        return None
    picture = draw()
    width = round(PIXELS * picture.figure.get_figwidth())
    return picture.caption, width, f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
