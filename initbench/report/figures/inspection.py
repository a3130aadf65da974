"""Figures of an inspection: the signal by layer, or at the ends of the network along a scan of depths or widths."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from initbench.analysis.panels import suffixes
from initbench.analysis.step_zero.inspection import Inspection, layers_table, scan_table
from initbench.analysis.step_zero.propagation import in_order
from initbench.core.text import printable
from initbench.report.figures import inspection_plots, plots
from initbench.report.figures.axes import most_lines, panel_title
from initbench.report.figures.coincide import coincidence
from initbench.report.figures.inspection_plots import Ridge, ridge_of
from initbench.report.figures.picture import (
    MOMENTS,
    Picture,
    band_note,
    explain,
    finished_picture,
    house_style,
    line_entries,
    moment_title,
    moments,
    panel_figure,
)
from initbench.report.figures.style import SCREEN, Style, looks

MOST_PANELS, MOST_LAYERS, COLUMNS = 8, 16, 4  # of ridges


def inspection_pictures(inspection: Inspection, style: Style = SCREEN) -> Iterator[Picture]:
    """Draw every figure, one after the other: by layer for each model, or along the scan."""
    return (draw() for draw in inspection_drawings(inspection, style))


def inspection_drawings(inspection: Inspection, style: Style = SCREEN) -> Iterator[Callable[[], Picture]]:
    """Yield what draws each figure, in the order of `inspection_pictures`."""
    style = style.for_labels([look.label for look in _looks(inspection).values()])
    if inspection.axis:
        yield from _along(inspection, style)
        return
    keys = [(model,) for model in inspection.models]
    layers = layers_table(inspection)
    for (model,), suffix in zip(keys, suffixes(keys), strict=True):
        here = layers[layers["model"] == model]
        if not here.empty:
            yield from _of_model(inspection, model, here, suffix, style)


def _of_model(
    inspection: Inspection, model: str, layers: pd.DataFrame, suffix: str, style: Style
) -> Iterator[Callable[[], Picture]]:
    drawn = partial(_drawn, printable(f"{model}; {inspection.source}"), style)
    of_all = _looks(inspection)
    yield partial(drawn, "signal" + suffix, "Signal at step 0 by layer", partial(moments, layers, of_all, style))
    similar = partial(_cosine, inspection, layers, style)
    yield partial(drawn, "cosine" + suffix, "Similarity of different inputs by layer", similar)
    panels = _panels(inspection, model)
    if panels:
        yield partial(
            drawn, "ridges" + suffix, _ridges_caption(inspection, model), partial(_ridges, panels, of_all, style)
        )


def _along(inspection: Inspection, style: Style) -> Iterator[Callable[[], Picture]]:
    places = scan_table(inspection)
    if places.empty:
        return
    ends = dict.fromkeys((inspection.models[0], inspection.models[-1]))
    drawn = partial(_drawn, printable(f"{' … '.join(ends)}; {inspection.source}"), style)
    asked = inspection, places, style
    yield partial(drawn, "scan", f"Signal at step 0 against {inspection.axis}", partial(_scan, *asked))
    caption = f"Similarity of different inputs at the last hidden layer against {inspection.axis}"
    yield partial(drawn, "cosine", caption, partial(_cosine, *asked))
    if inspection.axis == "width":
        caption = "Coordinates against width: root mean square of z at step 0"
        yield partial(drawn, "coordinates", caption, partial(_coordinates, *asked))


def _drawn(title: str, style: Style, name: str, caption: str, draw: Callable[[], Figure]) -> Picture:
    with house_style(style):
        return finished_picture(name, caption, title, draw(), style)


def _looks(inspection: Inspection) -> plots.Looks:
    return looks(inspection.schemes, baseline="")


def _cosine(inspection: Inspection, frame: pd.DataFrame, style: Style) -> Figure:
    of_all = _looks(inspection)
    figure, axes = panel_figure(2, style)
    heads = {"cosine": "mean cosine between inputs", "effective_rank": "effective rank"}
    for ax, (column, said) in zip(axes, heads.items(), strict=True):
        if inspection.axis:
            inspection_plots.by_place(ax, frame, column, of_all, inspection.axis, log=column != "cosine")
        else:
            inspection_plots.by_layer(ax, frame, column, of_all, log=column != "cosine")
        panel_title(ax, said)
    inspection_plots.cosine_axis(axes[0], frame[["cosine", "cosine_predicted"]].to_numpy(dtype=np.float64))
    note = band_note(frame, "mean (of ranks: geometric)") + coincidence(axes, of_all)
    explain(figure, line_entries(frame, ("cosine",), of_all), note, style)
    return figure


def _scan(inspection: Inspection, places: pd.DataFrame, style: Style) -> Figure:
    of_all = _looks(inspection)
    figure, axes = panel_figure(2, style)
    heads = ("forward moment {}, last hidden layer", "gradient moment {}, first layer")
    for ax, (column, symbol), said in zip(axes, MOMENTS.items(), heads, strict=True):
        inspection_plots.by_place(ax, places, column, of_all, inspection.axis)
        moment_title(ax, said.format(symbol), places[column])
    note = band_note(places, "geometric mean") + coincidence(axes, of_all)
    explain(figure, line_entries(places, tuple(MOMENTS), of_all), note, style)
    return figure


def _coordinates(inspection: Inspection, places: pd.DataFrame, style: Style) -> Figure:
    of_all = _looks(inspection)
    heads = {"first": "first layer", "hidden": "last hidden layer", "output": "output"}
    figure, axes = panel_figure(3, style)
    for ax, (column, said) in zip(axes, heads.items(), strict=True):
        inspection_plots.by_place(ax, places, column, of_all, inspection.axis)
        moment_title(ax, said, places[column])
    note = band_note(places, "geometric mean") + coincidence(axes, of_all)
    explain(figure, line_entries(places, tuple(heads), of_all), note, style)
    return figure


def _panels(inspection: Inspection, model: str) -> dict[str, list[Ridge]]:
    """Return the ridges of each scheme that has a panel; nothing where no histogram was kept."""
    panels = {scheme: _ridges_of(inspection, model, scheme) for scheme in inspection.schemes[:MOST_PANELS]}
    kept = any(len(row.z) for rows in panels.values() for row in rows)
    return {scheme: rows for scheme, rows in panels.items() if rows} if kept else {}


def _ridges(panels: Mapping[str, Sequence[Ridge]], of_all: plots.Looks, style: Style) -> Figure:
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    width = max(6.5, 1.3 + 2.6 * columns) if style.titled else style.widths[min(columns, 3) - 1]
    room = (width - 1.3) / columns  # inches of a panel, without the names of layers
    titles = most_lines([of_all[scheme].label for scheme in panels], inspection_plots.title_room(room))
    row = 0.21 if style.titled else 0.14
    height = lines * (0.75 + 0.15 * titles + row * max(map(len, panels.values()))) + (0.9 if style.titled else 0.0)
    figure = Figure(figsize=(width, height), dpi=style.dpi, layout="constrained")
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    for place, (ax, (scheme, rows)) in enumerate(zip(grid, panels.items(), strict=False)):
        inspection_plots.ridges(ax, rows, of_all[scheme], room, named=place % columns == 0)
    for ax in grid[len(panels) :]:
        ax.set_axis_off()
    return figure


def _ridges_of(inspection: Inspection, model: str, scheme: str) -> list[Ridge]:
    """Return the ridges of at most `MOST_LAYERS` layers, evenly picked, the first and the last kept."""
    by_seed = [{layer.layer: layer for layer in step.layers} for step in inspection.steps(model, scheme)]
    names = in_order([list(layers) for layers in by_seed])
    picked = np.unique(np.linspace(0, len(names) - 1, min(len(names), MOST_LAYERS)).round().astype(int))
    return [ridge_of([layers[names[place]] for layers in by_seed if names[place] in layers]) for place in picked]


def _ridges_caption(inspection: Inspection, model: str) -> str:
    left_out = len(inspection.schemes) - MOST_PANELS
    depth = max(
        (len(observed.step_zero.layers) for observed in inspection.observed if observed.model == model), default=0
    )
    parts: Sequence[str] = (
        "Distribution of z by layer, each scaled to its peak",
        f"{MOST_LAYERS} of {depth} layers" if depth > MOST_LAYERS else "",
        f"first {MOST_PANELS} schemes, {left_out} more not shown" if left_out > 0 else "",
    )
    return "; ".join(part for part in parts if part)
