"""From the trials of a panel to pairs of one seed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from initbench.analysis.comparing import Sides


def by_scheme(trials: pd.DataFrame) -> Mapping[str, pd.DataFrame]:
    """Return the trials of each scheme by seed; pairs need one per scheme and seed, and a plan never holds two."""
    return {
        str(scheme): rows.drop_duplicates("seed").set_index("seed")
        for scheme, rows in trials.groupby("scheme", sort=False)
    }


def shared_seeds(scheme: pd.DataFrame, baseline: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Return both sides of the pairs without a failed trial, row i of both being of one seed, and how many had one.

    A failed trial (out of memory, a missing file) shows neither whether it learns nor when it reaches the target.
    """
    seeds = scheme.index.intersection(baseline.index).sort_values()
    scheme, baseline = scheme.loc[seeds], baseline.loc[seeds]
    ran = ((scheme["outcome"] != "failed") & (baseline["outcome"] != "failed")).to_numpy(dtype=bool)
    return scheme[ran], baseline[ran], int((~ran).sum())


def accuracy_sides(scheme: pd.DataFrame, baseline: pd.DataFrame, failed: int) -> Sides:
    """Return the accuracies of pairs and who learned; the trials are marked `learned`."""
    values = [side["test_accuracy"].to_numpy(dtype=np.float64) for side in (scheme, baseline)]
    learned = [side["learned"].to_numpy(dtype=bool) for side in (scheme, baseline)]
    return Sides(values[0], values[1], learned[0], learned[1], failed)


def step_sides(scheme: pd.DataFrame, baseline: pd.DataFrame, failed: int, budget: float) -> Sides:
    """Return the steps to the target of pairs, at most `budget`, and who reached it."""
    (steps, reached), (others, also) = steps_to_target(scheme), steps_to_target(baseline)
    return Sides(np.where(reached, steps, budget), np.where(also, others, budget), reached, also, failed)


def steps_to_target(trials: pd.DataFrame) -> tuple[Any, Any]:
    """Return the steps to the target (n,), 0 where it was not reached, and where it was (n,)."""
    reached = trials["steps_to_target"].notna().to_numpy(dtype=bool)
    return trials["steps_to_target"].astype("float64").fillna(0.0).to_numpy(), reached
