"""What figures of a comparison and of an inspection share: a sheet with its legend, its two files, moments in lines."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from initbench.analysis import plots
from initbench.analysis.axes import (
    Entry,
    cut_said,
    legend,
    line_count,
    mark_entry,
    reference_entry,
    scheme_entry,
    wrapped,
)
from initbench.analysis.style import PNG_DPI, RC

TITLE_CHARACTERS = 8.0  # an inch of figure: a title stays left of the legend
MOMENTS = {"forward_moment": "E[z²]", "gradient_moment": "E[(∂loss/∂z)²]"}


@dataclass(frozen=True)
class Picture:
    """A drawn figure: `name` is its file's stem, `caption` says what it shows to those who do not see it."""

    name: str
    caption: str
    figure: Figure

    @cached_property
    def png(self) -> bytes:
        """The figure at 150 dpi."""
        return _png(self.figure)

    @cached_property
    def svg(self) -> bytes:
        """The figure as SVG whose text is text."""
        return _svg(self.figure)


def titled(name: str, caption: str, title: str, figure: Figure) -> Picture:
    """Put the caption and, below it, what is shown above a figure, and fix its layout."""
    shown = wrapped(title, int(TITLE_CHARACTERS * figure.get_figwidth()))
    figure.suptitle(f"{caption}\n{shown}", x=0.01, ha="left", fontsize=9.5)
    _lay_out(figure)
    return Picture(name, f"{caption}: {title}", figure)


def sheet(panels: int, entries: Sequence[Entry], title: str, *, width: float) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure of so many panels with its legend at the right, as high as the legend needs; sizes in inches."""
    height = max(4.2, 0.9 + 0.185 * line_count([label for _, label in entries]))
    figure = Figure(figsize=(width, height), dpi=PNG_DPI, layout="constrained")
    legend(figure, entries, title)
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def moments(layers: pd.DataFrame, looks: plots.Looks) -> Figure:
    """Draw forward and gradient moment by layer, a line per scheme."""
    entries = line_entries(layers, tuple(MOMENTS), looks)
    figure, axes = sheet(2, entries, band_said(layers, "geometric mean"), width=11.5)
    for ax, (column, symbol) in zip(axes, MOMENTS.items(), strict=True):
        plots.signal(ax, layers, column, looks)
        head(ax, f"{column.replace('_', ' ')} {symbol}", layers[column])
    return figure


def head(ax: Axes, text: str, values: pd.Series) -> None:
    """Write above a drawing of moments what it shows, and how far they go where its axis is cut."""
    ax.set_title(text + cut_said(values.to_numpy(dtype=np.float64)), loc="left")


def line_entries(frame: pd.DataFrame, columns: Sequence[str], looks: plots.Looks) -> list[Entry]:
    """Name the schemes that a frame has, and what else is drawn of `columns` (`plots.lines`)."""
    here = set(frame["scheme"].unique())
    entries = [scheme_entry(look) for scheme, look in looks.items() if scheme in here]
    predicted = [f"{column}_predicted" for column in columns if f"{column}_predicted" in frame]
    if frame[predicted].notna().any(axis=None):
        entries.append(reference_entry("predicted, where a formula exists"))
    if (frame[list(columns)] == 0).any(axis=None):
        entries.append(mark_entry("v", "exactly 0, off the axis"))
    if frame[list(columns)].isna().any(axis=None):
        entries.append(mark_entry("x", "not a finite number"))
    return entries


def band_said(frame: pd.DataFrame, mean: str) -> str:
    """Say what lines and bands are."""
    seeds = frame["seed"].nunique()
    return f"line: {mean};\nband: its 95 % t interval, n = {seeds} seeds" if seeds > 1 else "line: the one seed"


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style, and leave matplotlib as it was."""
    with mpl.rc_context(RC), warnings.catch_warnings():
        # A name in a script that DejaVu lacks shows boxes in the PNG and itself in the SVG: no reason to stop.
        warnings.filterwarnings("ignore", message="Glyph")
        yield


def _lay_out(figure: Figure) -> None:
    """Work the layout out once and keep it: each of the two files would work it out again."""
    engine = figure.get_layout_engine()
    assert engine is not None, "figures are made with constrained layout"
    engine.execute(figure)
    figure.set_layout_engine("none")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.set_dpi(PNG_DPI)  # drawing the SVG leaves it at 72
    with house_style():
        # The canvases are called straight: `savefig` would draw every figure twice.
        FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call] # untyped in matplotlib
    return buffer.getvalue()


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with house_style():
        # Without what changes from run to run and from version to version.
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(buffer, metadata=metadata)  # type: ignore[no-untyped-call] # untyped there
    return buffer.getvalue()
