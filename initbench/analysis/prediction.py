"""How well the checks at step 0 predict training: a rank correlation over schemes, with its uncertainty."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from initbench.analysis.panels import Panel
from initbench.analysis.results import Results
from initbench.analysis.statistics.paired import Interval, Measure
from initbench.analysis.statistics.ranks import bootstrap_interval, permutation_p, rank_correlation
from initbench.analysis.step_zero.checks import severity

LEAST_SCHEMES = 4  # with three, even a perfect order comes about by chance one time in six


@dataclass(frozen=True)
class Prediction:
    """Spearman's correlation over schemes between the order at step 0 and that of the mean validation accuracy.

    The 95 % interval is from a bootstrap over schemes, `p` from the permutation test: the schemes are the sample, not
    the seeds. Where every scheme has the same verdict or accuracy, `constant` names it and there is no correlation.
    """

    correlation: Measure
    p: float | None = None
    constant: Literal["", "verdict", "accuracy"] = ""


def step_zero_prediction(results: Results, panel: Panel) -> Prediction | None:
    """Return how the order of the schemes at step 0 agrees with their order after training, None below 4 schemes.

    Step 0 ranks a scheme by how many checks fail, then by how many warn.
    """
    scores = _scores(results, panel)
    n = len(scores)
    if n < LEAST_SCHEMES:
        return None
    badness, accuracy = (np.array(column, dtype=np.float64) for column in zip(*scores.values(), strict=True))
    if np.ptp(badness) == 0 or np.ptp(accuracy) == 0:
        return Prediction(Measure(None, None, n), constant="verdict" if np.ptp(badness) == 0 else "accuracy")
    rho = float(rank_correlation(-badness, accuracy))
    interval = Interval(*bootstrap_interval(-badness, accuracy))
    return Prediction(Measure(rho, interval, n), permutation_p(-badness, accuracy, rho))


def _scores(results: Results, panel: Panel) -> dict[str, tuple[float, float]]:
    """Return (badness at step 0, mean final validation accuracy) by scheme; a diverged trial ranks below all others."""
    rows = panel.rows(results.trials)
    rows = rows[rows["outcome"] != "failed"]
    scores = {}
    for scheme, trials in rows.groupby("scheme", sort=False):
        checks = results.step_zero_checks.get((panel.dataset, panel.model, str(scheme)))
        if checks:
            fails, warns = severity(checks)
            accuracy = trials["final_val_accuracy"]
            mean = -1.0 if accuracy.isna().any() else float(accuracy.mean())
            scores[str(scheme)] = (100.0 * fails + warns, mean)
    return scores
