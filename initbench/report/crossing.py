"""The spread of test accuracy by its sources, in sentences."""

from collections.abc import Iterable

import numpy as np

from initbench.analysis.crossing import Decomposition
from initbench.analysis.statistics.variance import Component


def describe_crossing(decompositions: Iterable[Decomposition]) -> list[str]:
    """Return a sentence a scheme: its standard deviations in points (hundredths of accuracy), with intervals."""
    return [_described(of) for of in decompositions]


def _described(of: Decomposition) -> str:
    where = f"{of.scheme} ({of.dataset}, {of.model}, {of.optimizer}, lr {of.lr:g})"
    if of.components is None:
        return f"{where}: {of.reason}."
    parts = {"init seed": of.components.init, "data order": of.components.order, "the rest": of.components.rest}
    told = "; ".join(f"{name} {_points(part)}" for name, part in parts.items())
    return (
        f"{where}: standard deviation of test accuracy in points, with the interval that covers it at least 95 times "
        f"in 100 if effects are normal, and its share of the variance: {told} ({of.n_init} × {of.n_order} seeds)."
    )


def _points(part: Component) -> str:
    ends = "no interval"
    if part.interval is not None and part.interval.high is not None:
        ends = f"{100 * np.sqrt(part.interval.low):.2f} to {100 * np.sqrt(part.interval.high):.2f}"
    share = "" if part.share is None else f", {part.share:.0%}"
    return f"{100 * part.deviation:.2f} ({ends}{share}{', estimate below 0 shown as 0' * part.negative})"
