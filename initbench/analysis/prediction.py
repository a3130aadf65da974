"""Does the verdict at step 0 foretell the result of training? A rank correlation over schemes, with its uncertainty."""

import numpy as np

from initbench.analysis.panels import Panel
from initbench.analysis.results import Results
from initbench.analysis.statistics.ranks import bootstrap_interval, permutation_p, rank_correlation
from initbench.analysis.step_zero.checks import severity

LEAST_SCHEMES = 4  # of three, even a perfect order comes about by chance one time in six


def foresight(comparison: Results, panel: Panel) -> str:
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
    rho = float(rank_correlation(-badness, accuracy))
    low, high = bootstrap_interval(-badness, accuracy)
    return (
        f"{panel}: rank correlation between the verdict at step 0 and validation accuracy {rho:.2f} "
        f"[{low:.2f}, {high:.2f}], p = {permutation_p(-badness, accuracy, rho):.2g}, n = {len(scores)} schemes."
    )


def _scores(comparison: Results, panel: Panel) -> dict[str, tuple[float, float]]:
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
