"""Does the verdict at step 0 foretell the result of training? A rank correlation over schemes, with its uncertainty."""

from itertools import permutations

import numpy as np
import scipy  # its parts load when they are first used: scipy.stats takes half a second

from initbench.analysis.checks import severity
from initbench.analysis.comparison import Comparison
from initbench.analysis.panels import Panel
from initbench.analysis.statistics import Floats

LEAST_SCHEMES = 4  # of three, even a perfect order comes about by chance one time in six
EXACT = 8  # schemes whose orders are counted one by one: 8! = 40,320
RESAMPLES = 9999


def foresight(comparison: Comparison, panel: Panel) -> str:
    """Say how the order of the schemes at step 0 agrees with that of their mean validation accuracy; "" where too few.

    Step 0 ranks a scheme by how many checks fail, then by how many warn. Spearman's rho, its p from the orders that
    chance would make, its 95 % interval from a bootstrap over schemes: the schemes are the sample, not the seeds.
    """
    scores = _scores(comparison, panel)
    if len(scores) < LEAST_SCHEMES:
        return ""
    badness, accuracy = (np.array(column, dtype=np.float64) for column in zip(*scores.values(), strict=True))
    if np.ptp(badness) == 0 or np.ptp(accuracy) == 0:
        same = "verdict" if np.ptp(badness) == 0 else "accuracy"
        return f"{panel}: every scheme has the same {same}, so there is no order to compare."
    rho = float(_rho(-badness, accuracy))
    low, high = _interval(-badness, accuracy)
    return (
        f"{panel}: rank correlation between the verdict at step 0 and validation accuracy {rho:.2f} "
        f"[{low:.2f}, {high:.2f}], p = {_chance(-badness, accuracy, rho):.2g}, n = {len(scores)} schemes."
    )


def _scores(comparison: Comparison, panel: Panel) -> dict[str, tuple[float, float]]:
    """Return (badness at step 0, mean final validation accuracy) by scheme; a diverged trial ranks below all others."""
    rows = panel.rows(comparison.trials)
    rows = rows[rows["outcome"] != "failed"]
    ranks = {}
    for scheme, of_scheme in rows.groupby("scheme", sort=False):
        checks = comparison.step_zero_checks.get((panel.dataset, panel.place[1], str(scheme)))
        if checks:
            fails, warns = severity(checks)
            accuracy = of_scheme["final_val_accuracy"]
            result = -1.0 if accuracy.isna().any() else float(accuracy.mean())
            ranks[str(scheme)] = (100.0 * fails + warns, result)
    return ranks


def _rho(first: Floats, second: Floats) -> Floats:
    """Return Spearman's rank correlation over the last axis of (..., n), NaN where a side does not vary."""
    a, b = scipy.stats.rankdata(first, axis=-1), scipy.stats.rankdata(second, axis=-1)
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    norm = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return np.asarray((a * b).sum(axis=-1) / np.where(norm > 0, norm, np.nan))


def _chance(first: Floats, second: Floats, rho: float) -> float:
    """Return the two-sided p of `rho` among all orders, or among random ones where they are too many to count."""
    a = scipy.stats.rankdata(first)
    if len(a) <= EXACT:
        orders = np.array(list(permutations(scipy.stats.rankdata(second))))
    else:
        keyed = np.random.default_rng(len(a))
        orders = keyed.permuted(np.tile(scipy.stats.rankdata(second), (RESAMPLES, 1)), axis=1)
    a, orders = a - a.mean(), orders - orders.mean(axis=1, keepdims=True)
    rhos = orders @ a / np.sqrt((a @ a) * (orders[0] @ orders[0]))
    extreme = int((np.abs(rhos) >= abs(rho) - 1e-9).sum())
    return extreme / len(orders) if len(a) <= EXACT else (extreme + 1) / (len(orders) + 1)


def _interval(first: Floats, second: Floats) -> tuple[float, float]:
    """Return the 95 % percentile interval over resampled schemes; resamples in which nothing varies say nothing."""
    picks = np.random.default_rng(len(first)).integers(len(first), size=(2000, len(first)))
    low, high = np.nanquantile(_rho(first[picks], second[picks]), [0.025, 0.975])
    return float(low), float(high)
