"""From the trials of a panel to verdicts: each scheme against the baseline, in pairs of the same seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pandas as pd

from initbench.analysis.comparing import AccuracyComparison, StepsComparison, compare_accuracies, compare_speeds
from initbench.analysis.frames import table
from initbench.analysis.pairing import accuracy_sides, by_scheme, shared_seeds, step_sides, steps_to_target
from initbench.analysis.panels import Panel
from initbench.analysis.statistics.families import Adjusted
from initbench.analysis.statistics.intervals import Estimate
from initbench.analysis.statistics.paired import Measure
from initbench.analysis.statistics.survival import SpeedComparison, Survival, estimate_survival
from initbench.analysis.summary import in_order
from initbench.analysis.verdicts import Verdict, accuracy_decision, judge_accuracy, judge_speed, without_learning

# One point of accuracy: the smallest difference that readers look for; seeds alone often cause more.
INTERESTING_ACCURACY = 0.01
# A tenth of the budget: towards its end evaluations are at least that far apart, so less is hardly resolved.
INTERESTING_STEPS = 0.1


def _ends(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


VERDICT_COLUMNS = {
    **dict.fromkeys(("dataset", "model", "optimizer", "panel"), "str"),
    "batch_size": "int64",
    "lr": "float64",
    "scheme": "str",
    "baseline": "str",
    "baseline_lr": "float64",
    "accuracy_verdict": "str",
    "accuracy_text": "str",
    **dict.fromkeys((*_ends("accuracy_difference"), "accuracy_confidence"), "float64"),
    **dict.fromkeys(("accuracy_p", "learned_p"), "float64"),
    "accuracy_tested": "str",
    "accuracy_p_holm": "float64",
    **dict.fromkeys(("accuracy_n", "accuracy_dropped"), "int64"),
    **dict.fromkeys((*_ends("improvement"), *_ends("correlation")), "float64"),
    "accuracy_seeds_needed": "Int64",
    "speed_verdict": "str",
    "speed_text": "str",
    **dict.fromkeys((*_ends("steps_difference"), "steps_confidence"), "float64"),
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

READ_COLUMNS = (
    "scheme",
    "accuracy_verdict",
    *_ends("accuracy_difference"),
    "accuracy_p_holm",
    "accuracy_n",
    "speed_verdict",
)


@dataclass(frozen=True)
class Judgement:
    """The verdicts on `scheme` against `baseline` and the statistics behind them; a Holm family is judged together.

    `absent`: the baseline has no trial here at all.
    """

    scheme: str
    baseline: str
    accuracy: Verdict
    speed: Verdict
    accuracy_comparison: AccuracyComparison
    steps_comparison: StepsComparison
    survival: Survival
    absent: bool

    @property
    def speed_comparison(self) -> SpeedComparison:
        """The steps to the target against the baseline's."""
        return self.steps_comparison.speed

    def tests(self, metric: str) -> Adjusted:
        """Return the adjusted tests in `test_accuracy` or `steps_to_target`."""
        return (self.accuracy_comparison if metric == "test_accuracy" else self.steps_comparison).tests


def judge(trials: pd.DataFrame, schemes: Sequence[str], baseline: str) -> tuple[Judgement, ...]:
    """Return one judgement per scheme that has trials, except the baseline; `trials` are a panel's, marked `learned`.

    Holm's family is these schemes.
    """
    return _judge(trials, [(scheme, baseline) for scheme in in_order(trials["scheme"], schemes) if scheme != baseline])


def judge_all_pairs(trials: pd.DataFrame, schemes: Sequence[str]) -> tuple[Judgement, ...]:
    """Return one judgement per pair of schemes, the later against the earlier; Holm's family is all pairs."""
    return _judge(trials, [(later, earlier) for earlier, later in combinations(in_order(trials["scheme"], schemes), 2)])


def judged_without_learning(judged: Sequence[Judgement]) -> tuple[Judgement, ...]:
    """Return judgements on a validation split that is too small to show that anything learns."""
    return tuple(replace(each, accuracy=without_learning(each.accuracy, each.accuracy_comparison)) for each in judged)


def survival_of(trials: pd.DataFrame, scheme: str, budget: float) -> Survival:
    """Return when the trials of a scheme reached the target; failed trials are left out."""
    watched = trials[(trials["scheme"] == scheme) & (trials["outcome"] != "failed")]
    return estimate_survival(*steps_to_target(watched), budget=budget)


def budget_of(trials: pd.DataFrame) -> float:
    """Return the budget of steps of the trials of a panel, the largest where they differ."""
    return float(trials["steps"].max()) if len(trials) else 0.0


def verdicts_frame(judged: Mapping[Panel, Sequence[Judgement]]) -> pd.DataFrame:
    """Return one row per panel and scheme with `VERDICT_COLUMNS`."""
    return table([_row(panel, each) for panel, judgements in judged.items() for each in judgements], VERDICT_COLUMNS)


def _judge(trials: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> tuple[Judgement, ...]:
    budget = budget_of(trials)
    found, empty = by_scheme(trials), trials.iloc[:0].set_index("seed")
    sides = [(found.get(left, empty), found.get(right, empty)) for left, right in pairs]
    shared = [shared_seeds(*both) for both in sides]
    accuracies = compare_accuracies([accuracy_sides(*each) for each in shared], INTERESTING_ACCURACY)
    interesting = max(INTERESTING_STEPS * budget, 1.0)
    speeds = compare_speeds([step_sides(*each, budget) for each in shared], budget, interesting)
    verdicts = zip(judge_accuracy(accuracies), judge_speed(speeds), strict=True)
    return tuple(
        Judgement(
            scheme=scheme,
            baseline=baseline,
            accuracy=_explained(accuracy, baseline, both),
            speed=_explained(speed, baseline, both),
            accuracy_comparison=accuracy_comparison,
            steps_comparison=steps_comparison,
            survival=survival_of(trials, scheme, budget),
            absent=both[1].empty,
        )
        for (scheme, baseline), both, (accuracy, speed), accuracy_comparison, steps_comparison in zip(
            pairs, sides, verdicts, accuracies, speeds, strict=True
        )
    )


def _explained(verdict: Verdict, baseline: str, sides: tuple[pd.DataFrame, pd.DataFrame]) -> Verdict:
    """Return the verdict; where there is nothing to compare, with the reason, which the counts of pairs do not show."""
    if verdict.kind != "nothing to compare":
        return verdict
    if sides[1].empty:
        return replace(verdict, text=f"nothing to compare: the baseline {baseline} has no trial here")
    if len(sides[0].index.intersection(sides[1].index)):
        return replace(verdict, text="nothing to compare: a trial failed in every pair of one seed")
    return verdict


def _row(panel: Panel, judgement: Judgement) -> dict[str, Any]:
    return {
        "dataset": panel.dataset,
        "model": panel.model,
        "optimizer": panel.optimizer,
        "panel": panel.rule,
        "batch_size": panel.batch_size,
        "lr": panel.lr_of(judgement.scheme),
        "scheme": judgement.scheme,
        "baseline": judgement.baseline,
        "baseline_lr": panel.lr_of(judgement.baseline),
        **_accuracy_cells(judgement),
        **_speed_cells(judgement),
        **_survival_cells(judgement.survival),
    }


def _accuracy_cells(judgement: Judgement) -> dict[str, Any]:
    pairs, learned = judgement.accuracy_comparison.pairs, judgement.accuracy_comparison.learned
    return {
        "accuracy_verdict": judgement.accuracy.kind,
        "accuracy_text": judgement.accuracy.text,
        **_measure("accuracy_difference", pairs.difference),
        "accuracy_confidence": 1 - pairs.alpha,
        "accuracy_p": pairs.p,
        "learned_p": learned.p,
        "accuracy_tested": _tested(judgement.accuracy_comparison),
        "accuracy_p_holm": judgement.accuracy.p,
        "accuracy_n": pairs.n,
        "accuracy_dropped": pairs.dropped,
        **_measure("improvement", pairs.improvement),
        **_measure("correlation", pairs.correlation),
        "accuracy_seeds_needed": judgement.accuracy.seeds_needed,
    }


def _tested(accuracy: AccuracyComparison) -> str:
    """Return the test that the verdict follows: of who learned where that decides, or where no other is possible."""
    decided = accuracy_decision(accuracy).outcome == "shares"
    return "learned" if decided or accuracy.tests.values_p is None else "accuracy"


def _speed_cells(judgement: Judgement) -> dict[str, Any]:
    speed = judgement.speed_comparison
    return {
        "speed_verdict": judgement.speed.kind,
        "speed_text": judgement.speed.text,
        **_measure("steps_difference", speed.restricted.difference),
        "steps_confidence": 1 - speed.restricted.alpha,
        **_measure("speed_factor", speed.factor),
        "speed_p": speed.restricted.p,
        "speed_p_holm": judgement.speed.p,
        "logrank_p": speed.logrank_p,
        "first_p": speed.first_p,
        "speed_n": speed.restricted.n,
        "speed_dropped": speed.restricted.dropped,
        "speed_seeds_needed": judgement.speed.seeds_needed,
    }


def _survival_cells(survival: Survival) -> dict[str, Any]:
    return {
        "budget": survival.budget,
        **_measure("median_steps", survival.median),
        **_estimate("restricted_mean", survival.restricted_mean),
        "reached": survival.reached.count,
        "watched": survival.reached.n,
        **_measure("reached_share", survival.reached.share),
        **_measure("expected_running_time", survival.expected_running_time),
    }


def _estimate(name: str, estimate: Estimate) -> dict[str, float | None]:
    return dict(zip(_ends(name), (estimate.mean, estimate.low, estimate.high), strict=True))


def _measure(name: str, measure: Measure) -> dict[str, float | None]:
    ends = (None, None) if measure.interval is None else (measure.interval.low, measure.interval.high)
    return dict(zip(_ends(name), (measure.value, *ends), strict=True))
