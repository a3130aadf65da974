"""The drawings that only `inspect` has: data and axes in, axes out."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Polygon
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from initbench.analysis.statistics.intervals import Floats
from initbench.records.record import REACH, LayerStatistics
from initbench.report.figures.axes import PLAIN, layer_axis, panel_title, short_names, wrapped
from initbench.report.figures.plots import Looks, lines
from initbench.report.figures.style import Look

SHOWN_REACH = 3.0
RISE = 1.6  # rows that a ridge rises over: it may hide the foot of the one above it


@dataclass(frozen=True)
class Ridge:
    """The density of one layer's z, its peak 1; empty where there is none. `rms` is 0 or NaN where z is, or is not."""

    layer: str
    rms: float
    z: Floats
    density: Floats


def by_layer(ax: Axes, layers: pd.DataFrame, column: str, looks: Looks, *, log: bool) -> Axes:
    """Draw a column by layer, a line per scheme."""
    order = list(dict.fromkeys(layers["layer"]))
    lines(ax, layers, column, looks, {layer: place for place, layer in enumerate(order)}, log=log)
    return layer_axis(ax, order)


def by_place(ax: Axes, places: pd.DataFrame, column: str, looks: Looks, axis: str, *, log: bool = True) -> Axes:
    """Draw a column along a scan, a line per scheme; x is logarithmic from a factor of ten on.

    Depth stays linear: on its logarithmic y a signal that loses a factor a layer falls along a straight line.
    """
    values = sorted(set(places["layer"]))
    if axis != "depth" and values[0] > 0 and values[-1] >= 10 * values[0]:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.xaxis.set_minor_locator(NullLocator())
    lines(ax, places, column, looks, {value: value for value in values}, log=log)
    if len(values) <= 7 and axis != "depth":
        ax.set_xticks(values)
    ax.xaxis.set_major_formatter(PLAIN)
    ax.set_xlabel(axis)
    return ax


def cosine_axis(ax: Axes, values: Floats) -> Axes:
    """Let a cosine have all its range, from 0 or below to 1."""
    finite = values[np.isfinite(values)]
    ax.set_ylim(min(-0.03, float(finite.min()) - 0.05 if len(finite) else 0.0), 1.03)
    return ax


def ridge_of(seeds: Sequence[LayerStatistics]) -> Ridge:
    """Return the density of one layer's z, the mean over seeds, each of which has bins of its own width."""
    moments = np.array([np.nan if layer.forward_moment is None else layer.forward_moment for layer in seeds])
    kept = [
        (layer.histogram, np.sqrt(layer.forward_moment)) for layer in seeds if layer.histogram and layer.forward_moment
    ]
    rms = float(np.sqrt(moments.mean()))
    if not kept:
        return Ridge(seeds[0].layer, rms, np.zeros(0), np.zeros(0))
    bound = REACH * max(scale for _, scale in kept)
    z = np.linspace(-bound, bound, 65)
    density = np.mean([_density(z, shares, scale) for shares, scale in kept], axis=0)
    # Far out there is nothing: its points say no more than the first and the last of them.
    tails = np.flatnonzero(density)[[0, -1]] + [-1, 1]
    inside = slice(max(0, tails[0]), tails[1] + 1)
    z, density = z[inside], density[inside]
    return Ridge(seeds[0].layer, rms, z, density / density.max())


def _density(z: Floats, shares: Sequence[float], scale: float) -> Floats:
    edges = np.linspace(-REACH * scale, REACH * scale, len(shares) + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    return np.interp(z, centres, np.array(shares) / np.diff(edges), left=0.0, right=0.0)


def title_room(room: float) -> int:
    """Return the characters that a line of a title has above ridges `room` inches wide."""
    return min(30, int(99 * room / mpl.rcParams["legend.fontsize"]))


def ridges(ax: Axes, rows: Sequence[Ridge], look: Look, room: float, *, named: bool) -> Axes:
    """Draw layers from top to bottom on one axis of z, each to its own peak: a vanishing signal becomes a spike.

    The root mean square of z stands at the right, for spikes look alike. There are `room` inches from side to side.
    """
    reach = SHOWN_REACH * max((row.rms for row in rows if row.rms > 0), default=1.0)
    pale = tuple(0.45 * part + 0.55 for part in to_rgb(look.colour))
    for place, row in enumerate(rows):
        z, height = (row.z, row.density) if len(row.z) else _without(row)
        outline = np.r_[-reach, z, reach], np.r_[0.0, height, 0.0] * RISE - place
        # One patch for face and line: an SVG spells every point out, and a page has a hundred ridges.
        # It is not asked where it ends, which costs more than to draw it: the limits are set below.
        ax.add_artist(
            Polygon(np.column_stack(outline), facecolor=pale, edgecolor=look.colour, linewidth=0.9, zorder=2 + place)
        )
        said = f"{row.rms:.2g}" if np.isfinite(row.rms) else "not finite"
        ax.text(1.03, -place, said, transform=ax.get_yaxis_transform(), va="center", fontsize=7)
    ax.text(1.03, 1.0, "rms", transform=ax.get_yaxis_transform(), va="center", fontsize=7, style="italic")
    names = short_names([row.layer for row in rows], 20) if named else [""] * len(rows)
    ax.set_yticks([-place for place in range(len(rows))], names)
    ax.set_ylim(0.3 - len(rows), RISE + 0.1)
    ax.set_xlim(-reach, reach)
    return _ridge_axes(ax, look, room)


def _without(row: Ridge) -> tuple[Floats, Floats]:
    """Return a spike where every z is 0, and a bare foot where there is nothing to show."""
    return np.zeros(3), np.array([0.0, float(row.rms == 0), 0.0])


def _ridge_axes(ax: Axes, look: Look, room: float) -> Axes:
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0, labelsize=7.5)
    ax.tick_params(axis="x", labelsize=7.5)
    ax.xaxis.set_major_locator(MaxNLocator(max(2, min(4, int(1.6 * room))), symmetric=True))
    ax.xaxis.set_major_formatter(PLAIN)
    ax.grid(visible=False, axis="y")
    panel_title(ax, wrapped(look.label, title_room(room)), fontsize=mpl.rcParams["legend.fontsize"])
    return ax
