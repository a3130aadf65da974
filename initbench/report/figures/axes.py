"""Scales, ticks, legends and labels that the figures share."""

import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator

from initbench.analysis.statistics.intervals import Floats
from initbench.core.text import pieces, printable
from initbench.report.figures.style import REFERENCE_COLOUR, SCREEN, Look, Style

Entry = tuple[Any, str]  # a legend's handle (any artist) and its label

LEAST_TICKS = 4  # fewer leave the scale of an axis to be guessed
WINDOW = (1e-20, 1e20)  # of moments on a log axis: beyond it lies nothing that trains

# Plain numbers on log axes: matplotlib's own labels are math text, which is switched off for names' sake.
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


def step_axis(ax: Axes, last: int) -> None:
    """Make x a logarithmic axis of steps on which step 0 has its place."""
    ax.set_xscale("symlog", linthresh=1, linscale=0.35)
    ax.set_xticks(step_ticks(last))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(PLAIN)
    ax.set_xlim(-0.12, max(1, last) * 1.12)
    ax.set_xlabel("step")


def late_axis(ax: Axes, steps: "pd.Series[int]") -> None:
    """Make x a linear axis of the last steps, on which their ends stand apart."""
    first, last = int(steps.min()), int(steps.max())
    ax.set_xscale("linear")
    ax.set_xlim(first - 0.03 * (last - first), last + 0.03 * (last - first))
    ax.xaxis.set_major_locator(even_ticks(6))
    ax.xaxis.set_major_formatter(PLAIN)


def step_ticks(last: int) -> list[int]:
    """Return where an axis of steps has its ticks: powers of ten, others between them where those are few."""
    decades = [10**k for k in range(1 + int(math.log10(max(1, last))))]
    finer = [factor * decade for decade in decades for factor in (1, 2, 5) if factor * decade <= last]
    ticks = [0, *(decades if len(decades) >= LEAST_TICKS - 1 else finer)]
    return [*ticks, last] if last > 1.9 * ticks[-1] else ticks


def log_pays(values: Floats) -> bool:
    """Return whether values are positive and span a factor of ten or more."""
    finite = values[np.isfinite(values)]
    return bool(len(finite) and finite.min() > 0 and finite.max() >= 10 * finite.min())


def fit_y(ax: Axes, values: Floats, *, log: bool | None = None) -> None:
    """Fit y to the values: logarithmic where that pays, or as `log` says; on a log axis for those above 0 only.

    Limits come from the values, never from the bands: an interval of two seeds would flatten everything else.
    """
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    if len(positive) and (log_pays(finite) if log is None else log):
        _log_y(ax, float(positive.min()), float(positive.max()))
    elif len(finite):
        low, high = float(finite.min()), float(finite.max())
        pad = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
        ax.set_ylim(low - pad, high + pad)
        ax.yaxis.set_major_locator(even_ticks(8))


def even_ticks(most: int) -> MaxNLocator:
    """Return a locator of round numbers at even distances, `LEAST_TICKS` of them or more."""
    return MaxNLocator(max(most, LEAST_TICKS), steps=[1, 2, 2.5, 5, 10], min_n_ticks=LEAST_TICKS)


def within_window(values: Floats) -> Floats:
    """Return values brought into the window of a log axis, unless none are in it.

    Fifty decades of one scheme that dies would press all others into one line.
    """
    inside = (values >= WINDOW[0]) & (values <= WINDOW[1])
    return np.where(values > 0, np.clip(values, *WINDOW), values) if inside.any() else values


def cut_note(values: Floats) -> str:
    """Return a note on how far values reach beyond the window, on its own lines; empty where they do not."""
    shown = values[np.isfinite(values) & (values > 0)]
    kept = within_window(shown)
    ends = [
        f"lowest value {shown.min():.2g}" if (kept > shown).any() else "",
        f"highest value {shown.max():.2g}" if (kept < shown).any() else "",
    ]
    note = ",\n".join(end for end in ends if end)
    return f"\naxis cut: {note}" if note else ""


def cut_above(values: Floats, ceiling: float, said: str) -> str:
    """Return a note on an axis that is cut at a ceiling and what it is said to be; empty where no value is above it."""
    above = values[np.isfinite(values) & (values > ceiling)]
    return f"axis cut at {said}, values to {above.max():.3g}" if len(above) else ""


def _log_y(ax: Axes, low: float, high: float) -> None:
    # A model in float64 may span more than a float holds as a ratio, and padding must not reach 0 or infinity.
    low, high = max(low, 1e-290), min(high, 1e290)
    decades = math.log10(high) - math.log10(low)
    pad = min(0.06 * decades + 0.02, 10.0)
    # The limits come first: to find its own, a new scale warns where all values are one.
    ax.set_ylim(low / 10**pad, high * 10**pad)
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(_log_ticks(decades + 2 * pad))
    ax.yaxis.set_major_formatter(PLAIN)
    ax.yaxis.set_minor_locator(NullLocator())


def _log_ticks(decades: float) -> Locator:
    """Return a locator that finds enough ticks on a log axis of so many decades and not too many."""
    if decades < 1.2:
        return even_ticks(6)
    subs = (1.0, 2.0, 5.0) if decades < 3 else (1.0, 3.0) if decades < 5 else (1.0,)
    return LogLocator(subs=subs, numticks=9)


def scheme_axis(ax: Axes, looks: Sequence[Look], head: str, counts: Sequence[str], style: Style) -> None:
    """Give each scheme a row, the first on top: its label at the left, a count under `head` at the right."""
    for row, (look, count) in enumerate(zip(looks, counts, strict=True)):
        how: dict[str, Any] = {"ha": "left", "va": "center", "gid": f"{look.gid}.label.count"}
        ax.text(1.02, row, count, transform=ax.get_yaxis_transform(), **how)
    ax.text(1.02, 1.01, head, transform=ax.transAxes, ha="left", va="bottom")
    ax.set_yticks(range(len(looks)), [wrapped(look.label, style.row_wrap) for look in looks])
    for look, label in zip(looks, ax.get_yticklabels(), strict=True):
        label.set_gid(f"{look.gid}.label.row")
    ax.set_ylim(len(looks) - 0.45, -0.55)
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")


def layer_axis(ax: Axes, layers: Sequence[str]) -> Axes:
    """Name the layers along x, some of them where they are many."""
    every = max(1, -(-len(layers) // 16))  # more would touch, on a paper first
    names = short_names(layers)[::every]
    ax.set_xticks(range(0, len(layers), every), names, rotation=45, ha="right", rotation_mode="anchor")
    return ax


def panel_title(ax: Axes, text: str, **how: Any) -> None:  # noqa: ANN401 - properties of a text
    """Write a title right above a panel that has nothing there: it need not be asked at every layout."""
    ax.set_title(text, loc="left", y=1.0, **how)


def short_names(names: Sequence[str], most: int = 24) -> list[str]:
    """Return names short enough for an axis: where they are long, without the path that all share, then both ends."""
    paths = [printable(name).split(".") for name in names]
    if any(len(".".join(path)) > most for path in paths):
        steps = zip(*(path[:-1] for path in paths), strict=False)
        shared = sum(1 for _ in takewhile(lambda step: len(set(step)) == 1, steps))
        paths = [path[shared:] for path in paths]
    return [_ends(".".join(path), most) for path in paths]


def _ends(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most // 3]}…{name[most // 3 + 1 - most :]}"


def spread(count: int) -> Floats:
    """Return offsets (count,) that keep the dots of one row apart, the same in every run."""
    return np.linspace(-0.27, 0.27, count) if count > 1 else np.zeros(count)


def write_note(ax: Axes, sentence: str) -> Axes:
    """Write a sentence where there is nothing to draw."""
    ax.text(0.5, 0.5, sentence, transform=ax.transAxes, ha="center", va="center", color=REFERENCE_COLOUR)
    return ax


def legend(figure: Figure, entries: Sequence[Entry], title: str, style: Style = SCREEN, *, below: bool) -> Legend:
    """Put a legend right of all axes or below them, its title the words that explain the drawing.

    The figure grows where the legend needs it to.
    """
    box = _legend(figure, entries, title, style, below=below, columns=1)
    columns = _columns(box, figure) if below else 1
    if columns > 1:
        box.remove()
        box = _legend(figure, entries, title, style, below=True, columns=columns)
    needed = box.get_window_extent(renderer(figure)).height / figure.dpi
    height = float(figure.get_figheight())
    figure.set_figheight(height + needed if below else max(height, needed + 0.7))
    return box


def _columns(box: Legend, figure: Figure) -> int:
    """Return how many columns of entries, each as wide as its widest, stand side by side below the axes."""
    rc = mpl.rcParams
    letters = figure.dpi / 72 * float(rc["legend.fontsize"])  # pixels of one, the unit of a legend's spaces
    handle = letters * (rc["legend.handlelength"] + rc["legend.handletextpad"])
    between = letters * rc["legend.columnspacing"]
    widths = [text.get_window_extent(renderer(figure)).width + handle for text in box.get_texts()]
    room = figure.bbox.width - 2 * letters * (rc["legend.borderpad"] + rc["legend.borderaxespad"])

    def fits(columns: int) -> bool:
        parts = np.array_split(widths, columns)
        return bool(sum(part.max() for part in parts) + (columns - 1) * between <= room)

    return next((columns for columns in range(len(widths), 1, -1) if fits(columns)), 1)


def _legend(figure: Figure, entries: Sequence[Entry], title: str, style: Style, *, below: bool, columns: int) -> Legend:
    """Set labels afterwards, because matplotlib leaves out those that start with an underscore."""
    room = int(figure.get_figwidth() * 15) if below else 50
    lines = title.replace(";\n", "; ").split("\n") if below else title.split("\n")
    box = figure.legend(
        [handle for handle, _ in entries],
        [str(i) for i in range(len(entries))],
        loc="outside lower left" if below else "outside right upper",
        ncols=columns,
        title="\n".join(wrapped(line, room) for line in lines),
        alignment="left",
    )
    for text, drawn, (handle, label) in zip(box.get_texts(), box.legend_handles, entries, strict=True):
        text.set_text(wrapped(label, style.wrap))
        if (gid := handle.get_gid()) and drawn is not None:
            text.set_gid(f"{gid}.text")
            drawn.set_gid(f"{gid}.line")
    return box


def renderer(figure: Figure) -> Any:  # noqa: ANN401 - untyped in matplotlib
    """Return what measures the texts of a figure."""
    return FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call] # untyped there


def scheme_entry(look: Look, label: str = "") -> Entry:
    """Return the legend entry of a scheme, by its own label unless another is given."""
    how: dict[str, Any] = {"color": look.colour, "linestyle": look.dash, "linewidth": look.width}
    return Line2D([], [], marker=look.marker, markersize=5, gid=f"{look.gid}.label", **how), label or look.label


def mark_entry(marker: Any, label: str, **how: Any) -> Entry:  # noqa: ANN401 - matplotlib's own markers and keywords
    """Return the legend entry of a grey mark."""
    return Line2D([], [], linestyle="none", marker=marker, color=REFERENCE_COLOUR, **how), label


def reference_entry(label: str) -> Entry:
    """Return the legend entry of a dashed reference line."""
    return Line2D([], [], color=REFERENCE_COLOUR, linestyle=(0, (4, 3)), linewidth=1.1), label


def wrapped(text: str, width: int = 36) -> str:
    """Break a long label into lines, at its spaces where it has them, else as `pieces` breaks a word."""
    broken = re.sub(rf"\S{{{width + 1},}}", lambda word: " ".join(pieces(word[0], width)), text)
    return "\n".join(textwrap.wrap(broken, width)) or text


def most_lines(labels: Iterable[str], width: int = 36) -> int:
    """Return how many lines the longest of these labels takes when wrapped."""
    return max((wrapped(label, width).count("\n") + 1 for label in labels), default=1)
