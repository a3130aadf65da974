"""A scan of depth or width: how far a scheme carries the signal, and how the size of z grows with width."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initbench.analysis.statistics.intervals import Estimate, mean_interval
from initbench.analysis.step_zero.checks import LEVELS, Level, worst_level
from initbench.analysis.step_zero.inspection import Inspection, Observed

CARRYING = ("signal", "gradient", "inputs apart", "dead units")  # the checks that depend on depth


@dataclass(frozen=True)
class Reach:
    """How far along the scan a scheme carries the signal.

    `levels` has one per scanned value, None where nothing was checked; `fails_at` is the first value that FAILs,
    `holds_to` the last one before it.
    """

    scheme: str
    levels: tuple[Level | None, ...]
    holds_to: int | None
    fails_at: int | None


@dataclass(frozen=True)
class Coordinates:
    """How the root mean square of z grows with width: slopes of its log2 per doubling; 0 is independent of width."""

    scheme: str
    first: Estimate
    last_hidden: Estimate
    output: Estimate


def scanned_values(inspection: Inspection) -> list[int]:
    """Return the scanned values, in order."""
    return [(inspection.places or {})[model] for model in inspection.models]


def reach(inspection: Inspection, scheme: str) -> Reach:
    """Return how far along the scan a scheme carries signal, gradient and the difference between images."""
    levels = tuple(_carried(inspection, model, scheme) for model in inspection.models)
    values = scanned_values(inspection)
    failing = next((i for i, level in enumerate(levels) if level == LEVELS[-1]), None)
    if failing is None:
        return Reach(scheme, levels, values[-1] if any(levels) else None, None)
    return Reach(scheme, levels, values[failing - 1] if failing else None, values[failing])


def coordinates(inspection: Inspection, scheme: str) -> Coordinates:
    """Return how the size of z depends on width, each slope with its 95 % interval over seeds."""
    by_seed: dict[int, list[Observed]] = {}
    for network in inspection.observed:
        if network.scheme == scheme:
            by_seed.setdefault(network.seed, []).append(network)
    widths = np.log2(scanned_values(inspection))
    series = np.array([[_sizes(network) for network in row] for row in by_seed.values()])  # (seeds, widths, 3)
    centred = widths - widths.mean()
    with np.errstate(divide="ignore"):
        logs = np.log2(series)
    slopes = np.einsum("swk,w->sk", logs, centred) / (centred**2).sum()
    estimates = [mean_interval(column[np.isfinite(column)]) for column in slopes.T]
    return Coordinates(scheme, *estimates)


def _carried(inspection: Inspection, model: str, scheme: str) -> Level | None:
    return worst_level(check for check in inspection.checks[model, scheme] if check.name in CARRYING)


def _sizes(network: Observed) -> Sequence[float]:
    """Return the root mean square of z in the first, the last hidden and the last layer."""
    moments = [layer.forward_moment for layer in network.step_zero.layers if layer.kind in {"linear", "conv"}]
    ends = (moments[0], moments[-2] if len(moments) > 1 else moments[0], moments[-1])
    return [float("nan") if moment is None else moment**0.5 for moment in ends]
