"""Print an inspection: tables for people, or the JSON document for programs."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from initbench.analysis.statistics.intervals import Estimate, Floats
from initbench.analysis.step_zero.best import best_at_step_zero
from initbench.analysis.step_zero.checks import Check, worst_level
from initbench.analysis.step_zero.inspection import Inspection
from initbench.analysis.step_zero.propagation import power_of_two, signal_slopes
from initbench.analysis.step_zero.scans import coordinates, reach, scanned_values
from initbench.cli.console import block, picked
from initbench.cli.shown import EMPTY, Shown, listed, show
from initbench.core.text import printable
from initbench.core.words import counted
from initbench.report.cells import NOTHING, fixed
from initbench.report.step_zero import holds_to, levels_of
from initbench.report.step_zero_answer import step_zero_answer

if TYPE_CHECKING:
    import pandas as pd

SPARK_WIDTH = 8
BAR_WIDTH = 16
LEAST_SPAN, MOST_SPAN = 16.0, 2.0**16


def show_inspection(inspection: Inspection) -> None:
    """Print verdicts with a spark line of the signal, then reasons and remedies; of a single scheme every layer."""
    show(shown_of(inspection))


def shown_of(inspection: Inspection) -> Iterator[Shown]:
    """Yield what is printed of an inspection."""
    subject = f"{printable(_subject(inspection))}, {inspection.source}, {_seeds(inspection)}"
    yield from (Shown(subject, style="bold"), EMPTY)
    yield from _scan(inspection) if inspection.axis else _verdicts(inspection)
    if len(inspection.schemes) == 1 and not inspection.axis:
        yield from (EMPTY, *_layers(inspection))
    yield from (EMPTY, *_reasons(inspection))


def inspection_document(inspection: Inspection, folder: Path) -> dict[str, Any]:
    """Return the document of `--json`: verdicts with their checks, and the rows of layers.csv and networks.csv."""
    return {
        "schema": 1,
        "name": inspection.name,
        "folder": str(folder),
        "source": inspection.source,
        "axis": inspection.axis,
        "answer": [step_zero_answer(inspection)],
        "best": list(best_at_step_zero(inspection)),
        "reach": [vars(reach(inspection, scheme)) for scheme in inspection.schemes] if inspection.axis else [],
        "verdicts": [
            {
                "model": model,
                **({inspection.axis: (inspection.places or {})[model]} if inspection.axis else {}),
                "scheme": scheme,
                "verdict": worst_level(checks),
                "checks": [vars(check) for check in checks],
            }
            for (model, scheme), checks in inspection.checks.items()
        ],
        "networks": json.loads(inspection.networks.to_json(orient="records")),
        "layers": json.loads(inspection.layers.to_json(orient="records")),
    }


def _subject(inspection: Inspection) -> str:
    if not inspection.axis:
        return inspection.models[0]
    return f"{inspection.models[0]} … {inspection.models[-1]}"


def _seeds(inspection: Inspection) -> str:
    return counted(len({network.seed for network in inspection.observed}), "seed")


def _verdicts(inspection: Inspection) -> Iterator[Shown]:
    model = inspection.models[0]
    headers = ("scheme", "verdict", "E[z²]", "‖∂z‖²", "cosine", "dead", "loss", "signal")
    lines = {scheme: _line(inspection, model, scheme) for scheme in inspection.schemes}
    low, high = _common_scale(list(lines.values()))
    rows = []
    for scheme in inspection.schemes:
        layers, networks = _rows(inspection.layers, model, scheme), _rows(inspection.networks, model, scheme)
        hidden = layers[layers["kind"].isin(["linear", "conv"])]
        last = _last_hidden(hidden)
        rows.append(
            (
                printable(scheme),
                worst_level(inspection.checks[model, scheme]) or NOTHING,
                *map(_slope, signal_slopes(inspection.steps(model, scheme))),
                fixed(last["cosine"].mean(), 3),
                _share(hidden.groupby("layer", sort=False)["dead_fraction"].mean().max()),
                fixed(networks["loss"].mean(), 3),
                _spark(lines[scheme], low, high),
            )
        )
    yield Shown(headers=headers, rows=rows)
    yield EMPTY
    classes = inspection.observed[0].step_zero.network.classes
    chance = f" (ln {classes} = {math.log(classes):.3f} for a uniform guess)" if classes else ""
    yield Shown(
        "E[z²] (signal) and ‖∂z‖² (gradient): factor per layer, 95 % interval over seeds; cosine: mean over pairs of "
        f"inputs at the last hidden layer; dead: share in the worst layer; loss: at step 0{chance}; signal: E[z²] by "
        f"layer, log scale from {low:.2g} to {high:.2g}."
    )


def _scan(inspection: Inspection) -> Iterator[Shown]:
    places = scanned_values(inspection)
    reaches = [reach(inspection, scheme) for scheme in inspection.schemes]
    to_depth = inspection.axis == "depth"
    headers = ("scheme", *["no FAIL up to"] * to_depth, *map(str, places))
    rows = [(printable(reached.scheme), *[holds_to(reached)] * to_depth, *levels_of(reached)) for reached in reaches]
    yield Shown(f"Verdict at each {inspection.axis}", headers=headers, rows=rows)
    if inspection.axis != "width":
        return
    yield EMPTY
    headers = ("scheme", "first layer", "last hidden layer", "output")
    rows = []
    for scheme in inspection.schemes:
        slopes = coordinates(inspection, scheme)
        rows.append((printable(scheme), *map(_exponent, (slopes.first, slopes.last_hidden, slopes.output))))
    yield Shown(
        "Coordinate check: exponent of width in the size of z (0: independent of width)", headers=headers, rows=rows
    )


def _layers(inspection: Inspection) -> Iterator[Shown]:
    """Yield every layer of the one scheme: measured, predicted, a bar on a log scale."""
    model, scheme = inspection.models[0], inspection.schemes[0]
    layers = _rows(inspection.layers, model, scheme)
    low, high = _scale(np.append(layers["forward_moment"], [] if (layers["forward_moment"] > 0).any() else [1.0]))
    headers = ("layer", "E[z²]", "predicted", "", "E[(∂z)²]", "predicted", "dead", "cosine", "rank")
    rows = []
    for name, rows_of_layer in layers.groupby("layer", sort=False):
        mean = rows_of_layer.mean(numeric_only=True)
        rows.append(
            (
                printable(str(name)) or "(model)",
                _significant(mean["forward_moment"]),
                _significant(mean["forward_moment_predicted"]),
                _bar(mean["forward_moment"], low, high),
                _significant(mean["gradient_moment"]),
                _significant(mean["gradient_moment_predicted"]),
                _share(mean["dead_fraction"]),
                fixed(mean["cosine"], 3),
                _significant(mean["effective_rank"]),
            )
        )
    yield Shown(f"{printable(scheme)}, means over seeds", headers=headers, rows=rows)
    starts = dict.fromkeys(start for start in layers["predicted_from"] if start not in {"", "input"})
    if starts:
        yield Shown(
            f"No closed form is known for {', '.join(map(printable, starts))}: "
            "predictions restart there from the measured signal and, on the way back, from the measured gradient."
        )
    if layers[["forward_moment_predicted", "gradient_moment_predicted"]].isna().any(axis=None):
        yield Shown(
            f"{NOTHING}: measured only, where no closed form is known, where a prediction starts, or where sampling "
            "does not explain how far off it is."
        )


def _reasons(inspection: Inspection) -> Iterator[Shown]:
    """Yield what is wrong with each scheme, and each remedy once."""
    model = inspection.models[-1]
    bad = {
        scheme: [check for check in inspection.checks[model, scheme] if check.level != "PASS"]
        for scheme in inspection.schemes
    }
    at = f" at {model}" if inspection.axis else ""
    for scheme, checks in bad.items():
        if checks:
            yield Shown(printable(f"{scheme}{at}"), style="bold")
            yield from listed([_reason(check) for check in checks])
            remedies = list(dict.fromkeys(check.remedy for check in checks))
            for remedy in remedies:
                yield Shown(printable(f"→ {remedy}"))
    if not any(inspection.checks.values()):
        yield Shown("Nothing was checked: the network has no Linear and no convolution.")
    elif not any(bad.values()):
        yield Shown("All checks pass at step 0.")
    for sentence in inspection.not_measured:
        yield Shown(printable(sentence))


def _reason(check: Check) -> str:
    start = f" from {check.layer}" if check.layer else ""
    return printable(f"{check.level} {check.name}{start}: {check.figure}")


def _rows(frame: "pd.DataFrame", model: str, scheme: str) -> "pd.DataFrame":
    return frame[(frame["model"] == model) & (frame["scheme"] == scheme)]


def _last_hidden(layers: "pd.DataFrame") -> "pd.DataFrame":
    names = list(dict.fromkeys(layers["layer"]))
    return layers[layers["layer"].isin(names[-2:-1] or names)]


def _line(inspection: Inspection, model: str, scheme: str) -> Floats:
    """Return the mean forward moment of each weighted layer."""
    layers = _rows(inspection.layers, model, scheme)
    weighted = layers[layers["kind"].isin(["linear", "conv"])]
    return np.asarray(weighted.groupby("layer", sort=False)["forward_moment"].mean(), dtype=np.float64)


def _scale(values: Floats) -> tuple[float, float]:
    """Return the ends of a log scale that holds all positive values and never blows up a difference of less than 16."""
    positive = values[(values > 0) & np.isfinite(values)]
    high = float(positive.max())
    return min(float(positive.min()), high / LEAST_SPAN), high


def _common_scale(lines: Sequence[Floats]) -> tuple[float, float]:
    """Return a scale for several schemes: cut where one that explodes would make all others look flat."""
    values = np.concatenate(lines)
    starts = [line[0] for line in lines if len(line) and line[0] > 0]
    if not starts:
        return 1 / LEAST_SPAN, 1.0
    middle = float(np.median(starts))
    return _scale(np.clip(values[values > 0], middle / MOST_SPAN, middle * LEAST_SPAN))


def _spark(values: Floats, low: float, high: float) -> str:
    """Draw values as blocks on a log scale, at most `SPARK_WIDTH` of them; a dot where there is no signal."""
    shown = values[picked(len(values), SPARK_WIDTH)]
    span = math.log(high / low) or 1.0
    return "".join("·" if not value > 0 else block(math.log(value / low) / span) for value in shown)


def _bar(value: float, low: float, high: float) -> str:
    """Draw a bar that is full at `high` and one block long at `low`, on a log scale; bars stand at the left."""
    if not value > 0 or not math.isfinite(value):
        return ""
    share = math.log(value / low) / math.log(high / low) if high > low else 1.0
    return ("█" * max(1, round(min(1.0, max(0.0, share)) * BAR_WIDTH))).ljust(BAR_WIDTH)


def _slope(slope: Estimate) -> str:
    if slope.mean is None:
        return NOTHING
    if slope.low is None or slope.high is None:
        return f"×{_factor(slope.mean)}"
    return f"×{_factor(slope.mean)} [{_factor(slope.low)}, {_factor(slope.high)}]"


def _factor(bits: float) -> str:
    return f"{power_of_two(bits):.2f}" if math.log2(0.095) < bits < 20 else f"{power_of_two(bits):.1g}"


def _exponent(estimate: Estimate) -> str:
    if estimate.mean is None:
        return NOTHING
    return (
        f"{estimate.mean:+.2f}"
        if estimate.low is None
        else f"{estimate.mean:+.2f} [{estimate.low:+.2f}, {estimate.high:+.2f}]"
    )


def _significant(value: float) -> str:
    return NOTHING if not math.isfinite(value) else f"{value:.3g}"


def _share(value: float) -> str:
    return NOTHING if not math.isfinite(value) else f"{value:.0%}"
