"""The page of an inspection: one self-contained HTML file, which loads nothing from the network."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from initbench.analysis.panels import within
from initbench.analysis.statistics.intervals import Estimate, geometric_band, mean_interval
from initbench.analysis.step_zero.inspection import Inspection, layers_table, networks_table
from initbench.analysis.step_zero.scans import coordinates, reach, scanned_values
from initbench.core.text import printable
from initbench.report.cells import NOTHING, Table, mean_cell
from initbench.report.figures.picture import Picture
from initbench.report.page.downloads import downloads
from initbench.report.page.inline_figures import within_budget
from initbench.report.page.template import page
from initbench.report.step_zero import holds_to, levels_of, step_zero_section
from initbench.report.step_zero_answer import step_zero_answer

FIGURES_BUDGET = 1_700_000  # bytes: under 2 MB with the rest, which a mail takes and a phone opens

DEFINITIONS = {
    "z, x": "a layer's output before and after its activation.",
    "E[z²], E[(∂z)²]": "mean square over images and units of a layer's output, and of the gradient of the mean loss "
    "with respect to it. The mean over seeds is geometric, because moments of deep networks vary by factors.",
    "predicted": "expectation over draws of the weights, from a closed form that starts at the measured input or at "
    "the last operation without a closed form (for the gradient, at the one measured before it). Empty where no closed "
    "form is known, and where seeds and finite width do not explain the difference from what was measured.",
    "cosine, effective rank": "mean cosine between the outputs for different images, and the participation ratio "
    "(Σλ)²/Σλ² of their Gram matrix: both are 1 if all images have the same output.",
    "dead": "share of units whose ReLU is inactive for every image.",
    "singular values": "of ∂output/∂input: the largest, the mean and the smallest, averaged over a few images.",
    "silent inputs": "share of images for which all ReLUs of some layer are inactive, so that the output "
    "ignores the image.",
}
_LAYER_HEADS = {
    "forward_moment": "E[z²]",
    "forward_moment_predicted": "predicted",
    "gradient_moment": "E[(∂z)²]",
    "gradient_moment_predicted": "predicted",
    "cosine": "cosine",
    "cosine_predicted": "predicted",
    "effective_rank": "effective rank",
    "dead_fraction": "dead",
    "weight_std": "std of weights",
}
_NETWORK_HEADS = {
    "loss": "loss",
    "loss_predicted": "predicted",
    "logit_std": "std of logits",
    "jacobian_max": "largest singular value",
    "jacobian_mean": "mean",
    "jacobian_min": "smallest",
    "silent_inputs": "silent inputs",
    "silent_inputs_predicted": "predicted",
}


def inspection_page(
    inspection: Inspection, beside: Sequence[str], formats: Collection[str] = ()
) -> Callable[[Iterable[Picture]], str]:
    """Return what makes the page of its figures; all else of it is worked out here, while they may still be drawn.

    `beside` are the names of the tables in its folder, `formats` those of the figures there.
    """
    ends = dict.fromkeys((*inspection.models[:1], *inspection.models[-1:]))
    filled = partial(
        page,
        "inspection.html.j2",
        name=printable(inspection.name),
        answer=step_zero_answer(inspection),
        source=printable("; ".join(filter(None, (" … ".join(ends), inspection.source)))),
        notices=[printable(notice) for notice in inspection.notices],
        before=step_zero_section(("model", "scheme"), inspection.checks),
        scan=_scan(inspection) if inspection.axis else (),
        tables=(
            ("Whole networks", ("Mean over seeds with its 95 % t interval.",), _networks(inspection)),
            ("Layers", _layers_lines(inspection), _layers(inspection)),
        ),
        definitions=DEFINITIONS,
        command=printable(inspection.command),
        downloads=downloads({}, beside, 0),
    )
    return partial(_with_figures, filled, formats)


def _with_figures(filled: Callable[..., str], formats: Collection[str], drawn: Iterable[Picture]) -> str:
    figures = tuple(within_budget(drawn, FIGURES_BUDGET, formats))
    return filled([figure.svg for figure in figures], figures=figures)


def _scan(inspection: Inspection) -> tuple[Table, ...]:
    """Return up to which depth or width each scheme passes and, across widths, how the size of z depends on width."""
    if not any(inspection.checks.values()):
        return ()
    axis, places = printable(inspection.axis), list(map(str, scanned_values(inspection)))
    reaches = [reach(inspection, scheme) for scheme in inspection.schemes]
    rows = tuple((printable(reached.scheme), holds_to(reached), *levels_of(reached)) for reached in reaches)
    caption = f"Checks of signal, gradient, similarity of inputs and dead units at each {axis}: the worst result"
    table = Table(caption, ("scheme", f"no FAIL up to {axis}", *places), rows)
    return (table, _widths(inspection)) if inspection.axis == "width" else (table,)


def _widths(inspection: Inspection) -> Table:
    found = [coordinates(inspection, scheme) for scheme in inspection.schemes]
    rows = tuple(
        (printable(slopes.scheme), *map(_exponent, (slopes.first, slopes.last_hidden, slopes.output)))
        for slopes in found
    )
    caption = "Exponent of width in the root mean square of z (0: independent of width)"
    return Table(caption, ("scheme", "first layer", "last hidden layer", "output"), rows)


def _exponent(estimate: Estimate) -> str:
    return NOTHING if estimate.mean is None else mean_cell(estimate, estimate.n)


def _networks(inspection: Inspection) -> tuple[Table, ...]:
    networks = networks_table(inspection)
    if networks.empty:
        return ()
    groups = [(key, within(networks, ("model", "scheme"), key)) for key in inspection.checks]
    several = len(inspection.models) > 1
    rows = tuple(
        (printable(key[1]), *[printable(key[0])] * several, *(_mean(rows_of_key[column]) for column in _NETWORK_HEADS))
        for key, rows_of_key in groups
        if not rows_of_key.empty
    )
    heads = ("scheme", *["model"] * several, *_NETWORK_HEADS.values())
    return (Table(_chance(networks), heads, rows),)


def _chance(networks: pd.DataFrame) -> str:
    classes = networks["classes"].dropna().unique()
    if len(classes) != 1:
        return "Loss in nats"
    return f"Loss in nats; that of a uniform guess is ln {classes[0]} = {math.log(classes[0]):.3f}"


def _layers_lines(inspection: Inspection) -> tuple[str, ...]:
    seeds = layers_table(inspection)["seed"].nunique()
    return (f"Means over {seeds} seeds; layers.csv holds every seed.",) if seeds > 1 else ()


def _layers(inspection: Inspection) -> tuple[Table, ...]:
    """Return a table per scheme, and none for a scan: it has thousands of layers, and layers.csv holds them."""
    if inspection.axis:
        return ()
    layers = layers_table(inspection)
    groups = [(key, within(layers, ("model", "scheme"), key)) for key in inspection.checks]
    several = len(inspection.models) > 1
    return tuple(
        _layer_table(printable(f"{key[1]}, {key[0]}" if several else key[1]), rows_of_key)
        for key, rows_of_key in groups
        if not rows_of_key.empty
    )


def _layer_table(caption: str, layers: pd.DataFrame) -> Table:
    # Columns that say nothing here are left out: no ReLU has no dead units.
    shown = [column for column in _LAYER_HEADS if layers[column].notna().any()]
    rows = tuple(
        (
            printable(str(name)),
            *map(printable, rows_of_layer[["kind", "nonlinearity"]].iloc[0]),
            *(_cell(rows_of_layer[c]) for c in shown),
        )
        for name, rows_of_layer in layers.groupby("layer", sort=False)
    )
    return Table(caption, ("layer", "kind", "activation", *(_LAYER_HEADS[column] for column in shown)), rows)


def _cell(column: "pd.Series[Any]") -> str:
    values = column.dropna().to_numpy(dtype=np.float64)
    if not len(values):
        return NOTHING
    if not str(column.name).partition("_predicted")[0].endswith("moment"):
        return f"{values.mean():.3g}"
    positive = values[values > 0]
    if not len(positive):
        return "0"
    zeros = f" (0 in {len(values) - len(positive)} seeds)" if len(positive) < len(values) else ""
    return f"{geometric_band(positive[:, np.newaxis])[0][0]:.3g}{zeros}"


def _mean(values: "pd.Series[Any]") -> str:
    estimate = mean_interval(values.dropna().to_numpy(dtype=np.float64))
    if estimate.mean is None:
        return NOTHING
    if str(values.name).endswith("_predicted"):
        return f"{estimate.mean:.4g}"
    if abs(estimate.mean) >= 1e-3 or estimate.mean == 0:
        return mean_cell(estimate, len(values))
    return f"{estimate.mean:.3g}{f' ± {estimate.half:.2g}' if estimate.half else ''}"
