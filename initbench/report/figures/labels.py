"""Labels at the right ends of lines, in place of a legend where there is room for them."""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import scipy  # its parts load when they are first used
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from initbench.analysis.statistics.intervals import Floats
from initbench.report.figures.axes import renderer, wrapped
from initbench.report.figures.style import Look, Style, luminance

MOST = 8  # labels; more are read in a legend
FARTHEST = 2.2  # heights of a label that one may stand off the end of its line
LINE_SPACING = 1.15
READABLE = 4.5  # contrast of text on white (WCAG 2, AA)


def label_ends(ax: Axes, labels: Sequence[tuple[Look, str]], style: Style) -> bool:
    """Write each label right of the axes at the end of its look's line, and say whether there was room.

    There is none for many labels, for lines that end together or end early: then nothing is written.
    """
    ends = [_end(ax, look) for look, _ in labels]
    if not 0 < len(labels) <= MOST or any(end is None or end[0] < 0.9 for end in ends):
        return False
    texts = [_label(ax, *label, style) for label in labels]
    leads = [_lead(ax, look, end) for (look, _), end in zip(labels, ends, strict=True) if end is not None]
    if _arrange(ax, texts, leads):
        return True
    for artist in (*texts, *leads):
        artist.remove()
    return False


def arrange_ends(figure: Figure) -> None:
    """Move the labels of a figure that is laid out apart: how high they are in its axes is known only then."""
    for ax in figure.axes:
        texts = [
            text for text in ax.texts if isinstance(text, Annotation) and str(text.get_gid()).endswith(".label.end")
        ]
        leads = [line for line in ax.lines if str(line.get_gid()).endswith(".label.lead")]
        if texts:
            _arrange(ax, texts, leads)


def apart(wanted: Floats, heights: Floats, low: float, high: float) -> Floats:
    """Return centres (n,) as near to `wanted` (n,) as labels of `heights` (n,) between `low` and `high` can stand.

    In the order wanted; least squares under distances of at least the mean of two heights, which is isotonic
    regression of what is left when every label is moved down by those below it.
    """
    order = np.argsort(wanted, kind="stable")
    tall = heights[order]
    offsets = np.concatenate([[0.0], np.cumsum((tall[1:] + tall[:-1]) / 2)])
    free = scipy.optimize.isotonic_regression(wanted[order] - offsets).x
    bounded = np.minimum(np.maximum(free, low + tall[0] / 2), high - tall[-1] / 2 - offsets[-1])
    centres = np.empty(len(wanted))
    centres[order] = bounded + offsets
    return centres


def ink(colour: str) -> str:
    """Return a colour dark enough to be read as text on white."""
    parts = np.array(to_rgb(colour))
    while 1.05 / (luminance(parts.tolist()) + 0.05) < READABLE:
        parts = 0.95 * parts
    return to_hex(tuple(map(float, parts)))  # type: ignore[arg-type] # three of them


def _end(ax: Axes, look: Look) -> Floats | None:
    """Return where the line of a look ends, in shares of the axes."""
    lines = [line for line in ax.lines if str(line.get_gid()).startswith(f"{look.gid}.line")]
    points = [np.column_stack(line.get_data()).astype(np.float64) for line in lines]
    seen = [curve[np.isfinite(curve).all(axis=1)] for curve in points]
    if not seen or not len(seen[0]):
        return None
    end: Floats = ax.transAxes.inverted().transform(ax.transData.transform(seen[0][-1]))
    return np.array([end[0], np.clip(end[1], 0.0, 1.0)])


def _label(ax: Axes, look: Look, label: str, style: Style) -> Annotation:
    how: dict[str, Any] = {"va": "center", "color": ink(look.colour), "gid": f"{look.gid}.label.end"}
    how |= {"fontsize": mpl.rcParams["legend.fontsize"], "xycoords": "axes fraction", "textcoords": "offset points"}
    return ax.annotate(wrapped(label, style.end_wrap), (1.0, 0.5), (14, 0), **how)


def _lead(ax: Axes, look: Look, end: Floats) -> Line2D:
    """Draw a thin line from the end of a scheme's line to its label, where it shows the scheme's marker."""
    marks: dict[str, Any] = {"marker": look.marker, "markersize": 5, "markevery": [1], "markeredgewidth": 0}
    marks |= {"clip_on": False, "transform": ax.transAxes, "gid": f"{look.gid}.label.lead"}
    (lead,) = ax.plot([end[0], 1.02], [end[1], end[1]], color=look.colour, linewidth=0.8, **marks)
    return lead


def _arrange(ax: Axes, texts: Sequence[Annotation], leads: Sequence[Line2D]) -> bool:
    """Place labels apart, and say whether all stand near the ends of their lines."""
    assert isinstance(ax.figure, Figure), "panels are not nested"
    measure = renderer(ax.figure)
    pixels = np.array([text.get_window_extent(measure).height for text in texts])
    heights = LINE_SPACING * pixels / ax.bbox.height
    wanted = np.array([float(np.asarray(lead.get_ydata())[0]) for lead in leads])
    centres = apart(wanted, heights, 0.0, 1.02)
    for text, lead, centre in zip(texts, leads, centres, strict=True):
        text.xy = (1.0, centre)
        lead.set_ydata([np.asarray(lead.get_ydata())[0], centre])
    inside = heights.sum() <= 1.02
    return bool(inside and (np.abs(centres - wanted) <= FARTHEST * np.median(heights)).all())
