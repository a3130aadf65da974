"""The summary: one row per scheme in its setting."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from initbench.analysis.frames import table
from initbench.analysis.statistics.intervals import censored_median, mean_interval

PLACE = ("dataset", "model", "optimizer", "batch_size")
SETTING = (*PLACE, "lr")

# Each mean has its n and its 95 % interval. The means of final values are over the trials that finished: `finished` and
# `n` show whether these are all trials or survivors only. `initial_loss` is over all trials.
MEANS = {
    "test_accuracy": "test_n",
    "initial_loss": "initial_loss_n",
    "final_val_loss": "final_val_loss_n",
    "generalization_gap": "generalization_gap_n",
}
SUMMARY_COLUMNS = {
    "dataset": "str",
    "model": "str",
    "optimizer": "str",
    "batch_size": "int64",
    "lr": "float64",
    "scheme": "str",
    "precision": "str",
    "n": "int64",
    "finished": "int64",
    "learned": "int64",
    "diverged": "int64",
    "failed": "int64",
    "steps_to_target": "Int64",
    "reached": "int64",
    **{
        column: kind
        for mean, n in MEANS.items()
        for column, kind in ((mean, "float64"), (f"{mean}_low", "float64"), (f"{mean}_high", "float64"), (n, "int64"))
    },
    "seconds_train": "float64",
    "initialization_steps": "float64",
    "steps_with_initialization": "float64",
    "seconds_with_initialization": "float64",
}


def summarize(trials: pd.DataFrame, schemes: Sequence[str]) -> pd.DataFrame:
    """Return one row per setting and scheme with `SUMMARY_COLUMNS`.

    Settings are in the order of the trials, which have a column `learned`, schemes in that of `schemes`.
    `steps_to_target` is a Kaplan-Meier median over the trials that did not fail, missing where half of them
    never reach the target: those, the diverged among them, are censored at their budget of steps.
    `seconds_train` is the median of the finished trials. `steps_with_initialization` and `seconds_with_initialization`
    are such medians to the target with the cost of the initialization included; training time is spread evenly over the
    steps.
    """
    rows = []
    for setting, in_setting in trials.groupby(list(SETTING), sort=False):
        for scheme in in_order(in_setting["scheme"], schemes):
            key = dict(zip((*SETTING, "scheme"), (*setting, scheme), strict=True))
            rows.append(key | _row(in_setting[in_setting["scheme"] == scheme]))
    return table(rows, SUMMARY_COLUMNS)


def in_order(present: pd.Series, schemes: Sequence[str]) -> list[str]:
    """Return the schemes that have trials: first those of `schemes`, then any others."""
    found = list(present.unique())
    return [scheme for scheme in dict.fromkeys(schemes) if scheme in found] + [s for s in found if s not in schemes]


def _row(trials: pd.DataFrame) -> dict[str, Any]:
    outcome = trials["outcome"].value_counts()
    counts = {status: int(outcome.get(status, 0)) for status in ("finished", "diverged", "failed")}
    seconds = trials.loc[trials["outcome"] == "finished", "seconds_train"]
    return (
        {
            "precision": trials["precision"].iloc[0],
            "n": len(trials),
            "learned": int(trials["learned"].sum()),
            "seconds_train": seconds.median(),
        }
        | counts
        | _convergence(trials)
        | {column: value for mean in MEANS for column, value in _mean(trials, mean).items()}
    )


def _convergence(trials: pd.DataFrame) -> dict[str, Any]:
    """Return how many trials reached the target, and when. Failed trials are left out: when they would is unknown."""
    observed = trials[trials["outcome"] != "failed"]
    reached = observed["steps_to_target"].notna()
    steps = observed["steps_to_target"].fillna(observed["steps"])
    median = censored_median(steps.to_numpy(dtype=np.float64), reached.to_numpy(dtype=bool))
    return {
        "reached": int(reached.sum()),
        "steps_to_target": None if median is None else int(median),
        **_whole_cost(observed, steps, reached),
    }


def _whole_cost(observed: pd.DataFrame, steps: pd.Series, reached: pd.Series) -> dict[str, Any]:
    """Return medians of the cost of reaching the target, initialization included, censored like the steps."""
    seconds = observed["seconds_init"] + observed["seconds_train"] * steps / observed["steps"]
    with_init = steps + observed["initialization_steps"]
    medians = [
        censored_median(cost.to_numpy(dtype=np.float64), reached.to_numpy(dtype=bool)) for cost in (with_init, seconds)
    ]
    return {
        "initialization_steps": observed["initialization_steps"].mean(),
        "steps_with_initialization": medians[0],
        "seconds_with_initialization": medians[1],
    }


def _mean(trials: pd.DataFrame, column: str) -> dict[str, float | int | None]:
    estimate = mean_interval(trials[column].dropna().to_numpy(dtype=np.float64))
    return {
        column: estimate.mean,
        f"{column}_low": estimate.low,
        f"{column}_high": estimate.high,
        MEANS[column]: estimate.n,
    }
