"""A table of text and its cells: numbers, means and other figures with their intervals, p values."""

import math
from dataclasses import dataclass

from initbench.analysis.statistics.intervals import Estimate
from initbench.analysis.statistics.paired import Measure
from initbench.analysis.verdicts import p_value
from initbench.core.words import true_minus

NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """A table ready to be shown: every cell is plain text without control characters."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def fixed(value: float, decimals: int) -> str:
    """Return a number with fixed decimals, three significant digits from 1e5 on; `NOTHING` where it is not finite."""
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.{decimals}f}" if abs(value) < 1e5 else f"{value:.3g}"


def number(value: float, decimals: int) -> str:
    """Return a number with fixed decimals, one significant digit where it would read as 0, and a true minus sign."""
    if value == float("-inf"):
        return "−∞"
    small = 1e-9 < abs(value) < 0.5 * 10.0**-decimals
    text = f"{value:.1g}" if small else f"{value:.{decimals}f}"
    return true_minus(text) if float(text) else text.removeprefix("-")


def percent(share: float) -> str:
    """Return a share as `90 %`."""
    return f"{100 * share:.4g} %"


def interval(low: float, high: float | None, decimals: int) -> str:
    """Return the ends of an interval as `[1.2, 3.4]`; `[1.2, ∞)` where it has no upper bound."""
    left = number(low, decimals)
    return f"[{left}, ∞)" if high is None else f"[{left}, {number(high, decimals)}]"


def mean_cell(estimate: Estimate, total: int) -> str:
    """Return a mean ± the half-width of its 95 % interval, and n wherever it is not `total`, the number of trials.

    Where n is smaller than `total`, the mean is over survivors.
    """
    n, mean, half = estimate.n, estimate.mean, estimate.half
    if n == 0 or mean is None:
        return f"{NOTHING} (0/{total})"
    if n == 1:
        return f"{fixed(mean, 4)} (n = 1{f', {n}/{total}' * (n < total)})"
    digits = _decimals(half) if half else 4
    return f"{fixed(mean, digits)} ± {fixed(half, digits) if half else 0}" + f" ({n}/{total})" * (n < total)


def estimate_cell(estimate: Estimate, decimals: int, scale: int = 1) -> str:
    """Return a mean and its interval in brackets, both multiplied by `scale`; n in place of a missing interval."""
    if estimate.mean is None:
        return NOTHING
    mean = number(scale * estimate.mean, decimals)
    if estimate.low is None or estimate.high is None:
        return f"{mean} (n = {estimate.n})"
    return f"{mean} {interval(scale * estimate.low, scale * estimate.high, decimals)}"


def measure_cell(measure: Measure, decimals: int, scale: int = 1) -> str:
    """Return a figure with its interval and, without one, its n; both multiplied by `scale`."""
    if measure.value is None:
        return NOTHING
    value = number(scale * measure.value, decimals)
    if measure.interval is None:
        return f"{value} (n = {measure.n})"
    low, high = measure.interval.low, measure.interval.high
    return f"{value} {interval(scale * low, None if high is None else scale * high, decimals)}"


def p_cell(p: float | None) -> str:
    """Return `0.014` or `< 0.001`."""
    return p_value(p).removeprefix("p ").removeprefix("= ") or NOTHING


def _decimals(half: float) -> int:
    """Return decimals that show at least one digit of the half-width, three where that is more."""
    return min(max(3, -math.floor(math.log10(half))), 8)
