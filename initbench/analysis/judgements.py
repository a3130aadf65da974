"""From the trials of a panel to verdicts: each scheme against the baseline, in pairs of one seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from initbench.analysis.frames import table
from initbench.analysis.panels import Panel
from initbench.analysis.statistics.intervals import Estimate
from initbench.analysis.statistics.paired import Measure, Paired, compare_pairs, compare_shares
from initbench.analysis.statistics.survival import Speed, Survival, compare_steps, survive
from initbench.analysis.summary import in_order
from initbench.analysis.verdicts import Accuracy, Verdict, judge_accuracy, judge_speed, tests_learning

# A point of accuracy: the least difference that tables of results are read for; seeds alone often move more.
INTERESTING_ACCURACY = 0.01
# A tenth of the budget: evaluations lie that far apart and farther towards its end, so less is hardly resolved.
INTERESTING_STEPS = 0.1


def _ends(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


VERDICT_COLUMNS = {
    **dict.fromkeys(("dataset", "model", "optimizer", "panel"), "str"),
    "lr": "float64",
    "scheme": "str",
    "baseline": "str",
    "baseline_lr": "float64",
    "accuracy_verdict": "str",
    "accuracy_text": "str",
    **dict.fromkeys(_ends("accuracy_difference"), "float64"),
    **dict.fromkeys(("accuracy_bootstrap_low", "accuracy_bootstrap_high"), "float64"),
    **dict.fromkeys(("accuracy_p", "learned_p"), "float64"),
    "accuracy_tested": "str",
    "accuracy_p_holm": "float64",
    **dict.fromkeys(("accuracy_n", "accuracy_dropped"), "int64"),
    **dict.fromkeys((*_ends("improvement"), *_ends("correlation")), "float64"),
    "accuracy_seeds_needed": "Int64",
    "speed_verdict": "str",
    "speed_text": "str",
    **dict.fromkeys(_ends("steps_difference"), "float64"),
    **dict.fromkeys(("steps_bootstrap_low", "steps_bootstrap_high"), "float64"),
    **dict.fromkeys(_ends("speed_factor"), "float64"),
    **dict.fromkeys(("speed_p", "speed_p_holm", "logrank_p", "first_p"), "float64"),
    **dict.fromkeys(("speed_n", "speed_dropped"), "int64"),
    "speed_seeds_needed": "Int64",
    "budget": "float64",
    **dict.fromkeys(_ends("median_steps"), "float64"),
    **dict.fromkeys(_ends("restricted_mean"), "float64"),
    "reached": "int64",
    "watched": "int64",
    **dict.fromkeys(_ends("reached_share"), "float64"),
    **dict.fromkeys(_ends("expected_running_time"), "float64"),
}


@dataclass(frozen=True)
class Judgement:
    """What is said of `scheme` against `baseline` and what it rests on; the verdicts of a family were judged together.

    `absent` tells that the baseline has no trial here at all.
    """

    scheme: str
    baseline: str
    accuracy: Verdict
    speed: Verdict
    accuracy_evidence: Accuracy
    speed_evidence: Speed
    survival: Survival
    absent: bool


def judge(trials: pd.DataFrame, schemes: Sequence[str], baseline: str) -> tuple[Judgement, ...]:
    """Return one judgement per scheme that has trials, except the baseline; `trials` are a panel's, marked `learned`.

    Holm's family is these schemes.
    """
    return _judge(trials, [(scheme, baseline) for scheme in in_order(trials["scheme"], schemes) if scheme != baseline])


def judge_all_pairs(trials: pd.DataFrame, schemes: Sequence[str]) -> tuple[Judgement, ...]:
    """Return one judgement per pair of schemes, the later against the earlier; Holm's family is all pairs."""
    return _judge(trials, [(later, earlier) for earlier, later in combinations(in_order(trials["scheme"], schemes), 2)])


def survival_of(trials: pd.DataFrame, scheme: str, budget: float) -> Survival:
    """Return when the trials of a scheme reached the target; failed ones say nothing of that."""
    watched = trials[(trials["scheme"] == scheme) & (trials["outcome"] != "failed")]
    return survive(*_steps(watched), budget=budget)


def budget_of(trials: pd.DataFrame) -> float:
    """Return the steps that every trial of a panel was given, the most of them where they differ."""
    return float(trials["steps"].max()) if len(trials) else 0.0


def verdicts_frame(judged: Mapping[Panel, Sequence[Judgement]]) -> pd.DataFrame:
    """Return one row per panel and scheme with `VERDICT_COLUMNS`."""
    return table([_row(panel, of) for panel, every in judged.items() for of in every], VERDICT_COLUMNS)


def _judge(trials: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> tuple[Judgement, ...]:
    budget = budget_of(trials)
    # Two trials of one scheme and seed cannot be told apart in pairs; the plan makes no such two.
    by_scheme = {
        str(scheme): of.drop_duplicates("seed").set_index("seed") for scheme, of in trials.groupby("scheme", sort=False)
    }
    nobody = trials.iloc[:0].set_index("seed")
    sides = [(by_scheme.get(left, nobody), by_scheme.get(right, nobody)) for left, right in pairs]
    accuracies = [_accuracy(*_shared(*both)) for both in sides]
    speeds = [_speed(*_shared(*both), budget) for both in sides]
    verdicts = zip(judge_accuracy(accuracies), judge_speed(speeds), strict=True)
    return tuple(
        Judgement(
            scheme=scheme,
            baseline=baseline,
            accuracy=_true_of(accuracy, baseline, both),
            speed=_true_of(speed, baseline, both),
            accuracy_evidence=of_accuracy,
            speed_evidence=of_speed,
            survival=survival_of(trials, scheme, budget),
            absent=both[1].empty,
        )
        for (scheme, baseline), both, (accuracy, speed), of_accuracy, of_speed in zip(
            pairs, sides, verdicts, accuracies, speeds, strict=True
        )
    )


def _shared(scheme: pd.DataFrame, baseline: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Return the two sides of the pairs of which neither failed, row i of both being of one seed, and how many did.

    A failed trial (out of memory, a missing file) tells neither of learning nor of arriving.
    """
    seeds = scheme.index.intersection(baseline.index).sort_values()
    scheme, baseline = scheme.loc[seeds], baseline.loc[seeds]
    whole = ((scheme["outcome"] != "failed") & (baseline["outcome"] != "failed")).to_numpy(dtype=bool)
    return scheme[whole], baseline[whole], int((~whole).sum())


def _accuracy(scheme: pd.DataFrame, baseline: pd.DataFrame, failed: int) -> Accuracy:
    values, others = (of["test_accuracy"].to_numpy(dtype=np.float64) for of in (scheme, baseline))
    both = np.isfinite(values) & np.isfinite(others)
    pairs = compare_pairs(
        values[both],
        others[both],
        smallest_interesting=INTERESTING_ACCURACY,
        dropped=failed + int((~both).sum()),
    )
    learned = compare_shares(scheme["learned"].to_numpy(dtype=bool), baseline["learned"].to_numpy(dtype=bool))
    return Accuracy(pairs, learned)


def _speed(scheme: pd.DataFrame, baseline: pd.DataFrame, failed: int, budget: float) -> Speed:
    return compare_steps(
        *_steps(scheme),
        *_steps(baseline),
        budget=budget,
        smallest_interesting=max(INTERESTING_STEPS * budget, 1.0),
        dropped=failed,
    )


def _steps(trials: pd.DataFrame) -> tuple[Any, Any]:
    arrived = trials["steps_to_target"].notna().to_numpy(dtype=bool)
    return trials["steps_to_target"].astype("float64").fillna(0.0).to_numpy(), arrived


def _true_of(verdict: Verdict, baseline: str, sides: tuple[pd.DataFrame, pd.DataFrame]) -> Verdict:
    """Say why there is nothing to compare, which the counts of pairs do not tell."""
    if verdict.kind != "nothing to compare":
        return verdict
    if sides[1].empty:
        return replace(verdict, text=f"nothing to compare: the baseline {baseline} has no trial here")
    if len(sides[0].index.intersection(sides[1].index)):
        return replace(verdict, text="nothing to compare: in every pair of one seed a trial failed")
    return verdict


def _row(panel: Panel, of: Judgement) -> dict[str, Any]:
    return {
        "dataset": panel.dataset,
        "model": panel.model,
        "optimizer": panel.optimizer,
        "panel": panel.rule,
        "lr": panel.lr_of(of.scheme),
        "scheme": of.scheme,
        "baseline": of.baseline,
        "baseline_lr": panel.lr_of(of.baseline),
        **_accuracy_cells(of),
        **_speed_cells(of),
        **_survival_cells(of.survival),
    }


def _accuracy_cells(of: Judgement) -> dict[str, Any]:
    pairs, learned = of.accuracy_evidence.pairs, of.accuracy_evidence.learned
    return {
        "accuracy_verdict": of.accuracy.kind,
        "accuracy_text": of.accuracy.text,
        **_estimate("accuracy_difference", pairs.difference),
        **_bootstrap("accuracy", pairs),
        "accuracy_p": pairs.p,
        "learned_p": learned.p,
        "accuracy_tested": "learned" if tests_learning(of.accuracy_evidence) else "accuracy",
        "accuracy_p_holm": of.accuracy.p,
        "accuracy_n": pairs.n,
        "accuracy_dropped": pairs.dropped,
        **_measure("improvement", pairs.improvement),
        **_measure("correlation", pairs.correlation),
        "accuracy_seeds_needed": of.accuracy.seeds_needed,
    }


def _speed_cells(of: Judgement) -> dict[str, Any]:
    speed = of.speed_evidence
    return {
        "speed_verdict": of.speed.kind,
        "speed_text": of.speed.text,
        **_estimate("steps_difference", speed.restricted.difference),
        **_bootstrap("steps", speed.restricted),
        **_measure("speed_factor", speed.factor),
        "speed_p": speed.restricted.p,
        "speed_p_holm": of.speed.p,
        "logrank_p": speed.logrank_p,
        "first_p": speed.first_p,
        "speed_n": speed.restricted.n,
        "speed_dropped": speed.restricted.dropped,
        "speed_seeds_needed": of.speed.seeds_needed,
    }


def _survival_cells(of: Survival) -> dict[str, Any]:
    return {
        "budget": of.budget,
        **_measure("median_steps", of.median),
        **_estimate("restricted_mean", of.restricted_mean),
        "reached": of.reached.count,
        "watched": of.reached.n,
        **_measure("reached_share", of.reached.share),
        **_measure("expected_running_time", of.expected_running_time),
    }


def _estimate(name: str, of: Estimate) -> dict[str, float | None]:
    return dict(zip(_ends(name), (of.mean, of.low, of.high), strict=True))


def _measure(name: str, of: Measure) -> dict[str, float | None]:
    ends = (None, None) if of.interval is None else (of.interval.low, of.interval.high)
    return dict(zip(_ends(name), (of.value, *ends), strict=True))


def _bootstrap(name: str, of: Paired) -> dict[str, float | None]:
    ends = (None, None) if of.bootstrap is None else (of.bootstrap.low, of.bootstrap.high)
    return dict(zip(_ends(f"{name}_bootstrap")[1:], ends, strict=True))
