"""What the figures of a comparison and of an inspection share: panels, legend, files, moments by layer."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initbench.report.figures import plots
from initbench.report.figures.axes import (
    Entry,
    cut_note,
    legend,
    mark_entry,
    panel_title,
    reference_entry,
    renderer,
    scheme_entry,
    wrapped,
)
from initbench.report.figures.coincide import coincidence
from initbench.report.figures.labels import arrange_ends
from initbench.report.figures.style import RC, SCREEN, Style

TITLE_CHARACTERS = 8.0  # an inch of figure: a title stays left of the legend
SHORT_NAME = 0.4  # inches: what a turned name of few letters takes
MOMENTS = {"forward_moment": "E[z²]", "gradient_moment": "E[(∂loss/∂z)²]"}


@dataclass(frozen=True)
class Picture:
    """A drawn figure: `name` is its file's stem, `caption` says what it shows to those who do not see it."""

    name: str
    caption: str
    figure: Figure
    style: Style = SCREEN

    @cached_property
    def png(self) -> bytes:
        """The figure in pixels, as many an inch as its style has."""
        return _png(self.figure, self.style)

    @cached_property
    def svg(self) -> bytes:
        """The figure as SVG whose text is text."""
        return _svg(self.figure, self.style)

    @cached_property
    def pdf(self) -> bytes:
        """The figure as PDF whose text is text."""
        return _pdf(self.figure, self.style)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the figure behind: another process gets what was drawn from it."""
        return {name: value for name, value in self.__dict__.items() if name != "figure"}

    def files(self, formats: Sequence[str]) -> dict[str, bytes]:
        """Return the figure in these formats by its files' names in a folder."""
        drawn = {"png": lambda: self.png, "svg": lambda: self.svg, "pdf": lambda: self.pdf}
        return {file_of(self.name, format_, self.style): drawn[format_]() for format_ in formats}


def file_of(name: str, format_: str, style: Style = SCREEN) -> str:
    """Return where a figure lies in a folder."""
    return f"{style.folder}/{name}.{format_}"


def finished_picture(name: str, caption: str, title: str, figure: Figure, style: Style = SCREEN) -> Picture:
    """Put the caption and, below it, what is shown above a figure whose style has titles, and fix its layout."""
    if style.titled:
        shown = wrapped(title, int(TITLE_CHARACTERS * figure.get_figwidth()))
        figure.suptitle(f"{caption}\n{shown}", x=0.01, ha="left", fontsize=9.5)
    else:
        _grow(figure)
    if style.strokes != 1:
        _thin(figure, style.strokes)
    _lay_out(figure)
    return Picture(name, f"{caption}: {title}", figure, style)


def panel_figure(panels: int, style: Style = SCREEN) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure of so many panels."""
    size = (style.widths[panels - 1], style.height)
    figure = Figure(figsize=size, dpi=style.dpi, layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def explain(figure: Figure, entries: Sequence[Entry], title: str, style: Style = SCREEN) -> None:
    """Put a legend where the style has it."""
    legend(figure, entries, title, style, below=style.legend_below)


def moments(layers: pd.DataFrame, looks: plots.Looks, style: Style = SCREEN) -> Figure:
    """Draw forward and gradient moment by layer, a line per scheme."""
    figure, axes = panel_figure(2, style)
    for ax, (column, symbol) in zip(axes, MOMENTS.items(), strict=True):
        plots.signal(ax, layers, column, looks)
        moment_title(ax, f"{column.replace('_', ' ')} {symbol}", layers[column])
    note = band_note(layers, "geometric mean") + coincidence(axes, looks)
    explain(figure, line_entries(layers, tuple(MOMENTS), looks), note, style)
    return figure


def moment_title(ax: Axes, text: str, values: pd.Series) -> None:
    """Write above a drawing of moments what it shows, and how far they go where its axis is cut."""
    panel_title(ax, text + cut_note(values.to_numpy(dtype=np.float64)))


def line_entries(frame: pd.DataFrame, columns: Sequence[str], looks: plots.Looks) -> list[Entry]:
    """Name the schemes that a frame has, and what else is drawn of `columns` (`plots.lines`)."""
    here = set(frame["scheme"].unique())
    entries = [scheme_entry(look) for scheme, look in looks.items() if scheme in here]
    predicted = [f"{column}_predicted" for column in columns if f"{column}_predicted" in frame]
    if frame[predicted].notna().any(axis=None):
        entries.append(reference_entry("predicted, where a closed form exists"))
    if (frame[list(columns)] == 0).any(axis=None):
        entries.append(mark_entry("v", "exactly 0 (off the axis)"))
    if frame[list(columns)].isna().any(axis=None):
        entries.append(mark_entry("x", "not finite"))
    return entries


def band_note(frame: pd.DataFrame, mean: str) -> str:
    """Return what lines and bands are."""
    seeds = frame["seed"].nunique()
    return f"line: {mean};\nband: 95 % t interval, n = {seeds} seeds" if seeds > 1 else "line: a single seed"


@contextmanager
def house_style(style: Style = SCREEN) -> Iterator[None]:
    """Draw in the house style, and leave matplotlib as it was."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # the user's own code may have chosen another style
        mpl.rcParams.update(RC | style.rc)
        # A name in a script that DejaVu lacks shows boxes in the PNG and itself in the SVG: no reason to stop.
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def _grow(figure: Figure) -> None:
    """Make a low figure taller by what turned names of layers take below its axes: else a sliver would be left."""
    names = (label for ax in figure.axes for label in ax.get_xticklabels())
    tallest = max((name.get_window_extent(renderer(figure)).height for name in names), default=0.0) / figure.dpi
    figure.set_figheight(figure.get_figheight() + max(0.0, tallest - SHORT_NAME))


def _thin(figure: Figure, factor: float) -> None:
    """Make lines thinner and marks smaller by a factor, those of legends too."""
    handles = [handle for box in figure.legends for handle in box.legend_handles]
    for line in [*(line for ax in figure.axes for line in ax.lines), *handles]:
        if isinstance(line, Line2D):
            line.set_linewidth(factor * line.get_linewidth())
            line.set_markersize(factor**0.5 * line.get_markersize())
            line.set_markeredgewidth(factor * line.get_markeredgewidth())
    for drawn in (collection for ax in figure.axes for collection in ax.collections):
        drawn.set_linewidth([factor * width for width in np.atleast_1d(drawn.get_linewidth())])
        if isinstance(drawn, PathCollection):
            drawn.set_sizes(factor * drawn.get_sizes())
    for patch in (patch for ax in figure.axes for patch in ax.patches):
        patch.set_linewidth(factor * patch.get_linewidth())


def _lay_out(figure: Figure) -> None:
    """Work the layout out once and keep it: each of the files would work it out again."""
    engine = figure.get_layout_engine()
    assert engine is not None, "figures are made with constrained layout"
    engine.execute(figure)
    figure.set_layout_engine("none")
    arrange_ends(figure)


def _png(figure: Figure, style: Style) -> bytes:
    buffer = io.BytesIO()
    figure.set_dpi(style.dpi)  # drawing the others leaves it at 72
    with house_style(style):
        # The canvases are called straight: `savefig` would draw every figure twice.
        FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call] # untyped in matplotlib
    return buffer.getvalue()


def _svg(figure: Figure, style: Style) -> bytes:
    buffer = io.BytesIO()
    with house_style(style):
        # Without what changes from run to run and from version to version.
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(buffer, metadata=metadata)  # type: ignore[no-untyped-call] # untyped there
    return buffer.getvalue()


def _pdf(figure: Figure, style: Style) -> bytes:
    buffer = io.BytesIO()
    figure.set_dpi(72)  # as the PDF has it; texts are measured before it sets it
    with house_style(style):
        metadata = dict.fromkeys(("CreationDate", "Creator", "Producer"))
        FigureCanvasPdf(figure).print_pdf(buffer, metadata=metadata)  # type: ignore[no-untyped-call] # untyped there
    return buffer.getvalue()
