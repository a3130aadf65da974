"""Variance components of a two-way crossing of initialization seeds and data-order seeds.

Every level i of one factor is combined with every level j of the other once, so the values follow the two-way crossed
random-effects model without replication,

    y_ij = mean + init_i + order_j + rest_ij,

with variance components estimated by the analysis of variance (Searle, Casella and McCulloch, Variance Components,
1992, chapter 4). With one trial per cell the interaction cannot be separated from the residual: `rest` is their sum.
"""

from dataclasses import dataclass

import numpy as np
import scipy  # its parts load when they are first used: scipy.stats takes half a second

from initbench.analysis.statistics.intervals import CONFIDENCE, Floats
from initbench.analysis.statistics.paired import Interval


@dataclass(frozen=True)
class Component:
    """One variance, in squared units of the values, estimated from `levels` of its factor.

    `negative`: the estimate was below 0, as it may be where the true one is small, and is reported as 0. `share` is
    its part of the sum of the components, None where that is 0. `interval` covers the true variance at least 95 times
    in 100 where the effects are normal: Williams's for a factor, chi-square for the rest; None without
    spread. `p` is that of the exact F test that a factor has no effect.
    """

    variance: float
    negative: bool
    share: float | None
    interval: Interval | None
    p: float | None
    levels: int

    @property
    def deviation(self) -> float:
        """The standard deviation, in the units of the values."""
        return float(np.sqrt(self.variance))


@dataclass(frozen=True)
class Components:
    """The variance due to init seeds, order seeds, and the rest (their interaction and the residual)."""

    mean: float
    init: Component
    order: Component
    rest: Component


def components(values: Floats) -> Components:
    """Return the variance components of a complete (init seeds, order seeds) table, at least 2 × 2, all finite.

    Expected mean squares: rest s_e², init s_e² + J s_i², order s_e² + I s_o² for an I × J table; solved for the s².
    """
    n_init, n_order = values.shape
    assert min(values.shape) >= 2
    assert np.isfinite(values).all()
    by_init, by_order, rest = _sums_of_squares(values)
    df_init, df_order = n_init - 1, n_order - 1
    df_rest = df_init * df_order
    noise = rest / df_rest
    raw = ((by_init / df_init - noise) / n_order, (by_order / df_order - noise) / n_init, noise)
    total = sum(max(0.0, variance) for variance in raw)
    ends = (
        _williams(by_init, df_init, rest, df_rest, n_order),
        _williams(by_order, df_order, rest, df_rest, n_init),
        _chi_square(rest, df_rest),
    )
    tests = (_f_test(by_init, df_init, rest, df_rest), _f_test(by_order, df_order, rest, df_rest), None)
    init, order, other = (
        Component(max(0.0, variance), variance < 0, max(0.0, variance) / total if total else None, interval, p, levels)
        for variance, interval, p, levels in zip(raw, ends, tests, (n_init, n_order, values.size), strict=True)
    )
    return Components(float(values.mean()), init, order, other)


def _sums_of_squares(values: Floats) -> tuple[float, float, float]:
    """Return the sums of squares of rows, columns and the rest; those within rounding error are 0."""
    n_rows, n_columns = values.shape
    mean = values.mean()
    rows, columns = values.mean(axis=1) - mean, values.mean(axis=0) - mean
    rest = values - mean - rows[:, np.newaxis] - columns
    noise = values.size * (1e-13 * np.abs(values).max()) ** 2
    sums = n_columns * (rows**2).sum(), n_rows * (columns**2).sum(), (rest**2).sum()
    by_row, by_column, other = (float(s) if s > noise else 0.0 for s in sums)
    return by_row, by_column, other


def _williams(between: float, df: int, rest: float, df_rest: int, repeats: int) -> Interval | None:
    """Return Williams's interval of the variance of a factor whose levels each occur `repeats` times.

    It covers wherever an exact chi-square interval of the factor's mean square and an exact F interval of its ratio to
    the rest both do (Biometrika 49, 1962). Each is at 97.5 %, so both cover at least 95 times in 100.
    """
    if between == 0:
        return None
    tail = (1 - CONFIDENCE) / 4
    # (MS - noise F) / repeats scaled by chi-square: `between` less what the rest explains, at either end of F.
    explained = df * rest / df_rest
    low = between - explained * scipy.stats.f.isf(tail, df, df_rest)
    high = between - explained * scipy.stats.f.ppf(tail, df, df_rest)
    return Interval(
        max(0.0, float(low / (repeats * scipy.stats.chi2.isf(tail, df)))),
        max(0.0, float(high / (repeats * scipy.stats.chi2.ppf(tail, df)))),
    )


def _chi_square(rest: float, df: int) -> Interval | None:
    if rest == 0:
        return None
    tail = (1 - CONFIDENCE) / 2
    return Interval(float(rest / scipy.stats.chi2.isf(tail, df)), float(rest / scipy.stats.chi2.ppf(tail, df)))


def _f_test(between: float, df: int, rest: float, df_rest: int) -> float | None:
    """Return the p of the exact F test, None where the rest is 0."""
    if rest == 0:
        return None
    return float(scipy.stats.f.sf((between / df) / (rest / df_rest), df, df_rest))
