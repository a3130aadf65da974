"""The first line: which schemes may be the best, and the sentence that says so, for every kind of outcome."""

import textwrap
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from analysis_data import DATA, a_comparison, a_trial, diverged, failed, finished
from whole_verdicts import learner

from initbench.analysis.best import best_of
from initbench.analysis.judgements import judge
from initbench.report.answer import answers

BASE = "torch_default"


def runs(scheme, accuracies, *, val=None, **fields):
    """One finished trial per test accuracy, which learned unless `val` is at chance."""
    return [
        finished(a_trial(scheme, seed), test=round(test, 6), val=test if val is None else val, **fields)
        for seed, test in enumerate(accuracies)
    ]


def around(mean, n=10, salt=0, spread=0.01):
    return mean + spread * np.random.default_rng(salt).standard_normal(n)


def stuck(scheme, n=10):
    return runs(scheme, [0.1] * n, val=0.1)


FEW_IMAGES = {"data": replace(DATA, classes=2, val_size=6, guess=0.5)}
OUTCOMES = {
    "one best": (
        [*stuck(BASE), *runs("good", around(0.95)), *runs("fair", around(0.85, salt=1))],
        (
            "good is the best of 3 schemes (95 % confidence): it learns in all 10 runs and ends at 95.1 % test "
            "accuracy (128 steps to 80 % on validation); the baseline torch_default never learns (0 of 10)."
        ),
    ),
    "one best, all learn": (
        [*runs(BASE, around(0.85, salt=1)), *runs("good", around(0.95))],
        (
            "good is the best of 2 schemes (95 % confidence): it learns in all 10 runs and ends at 95.1 % test "
            "accuracy (128 steps to 80 % on validation), 9.9 points above the baseline torch_default (95 % interval "
            "9.1 to 10.7)."
        ),
    ),
    "several best": (
        [*stuck(BASE), *runs("good", around(0.95)), *runs("also", around(0.95, salt=1)), *stuck("zeros")],
        (
            "also and good are best, not told apart (95 % confidence): they learn in all 10 runs and end at 95.1 to "
            "95.2 % test accuracy; the baseline torch_default never learns (0 of 10)."
        ),
    ),
    "the baseline is not beaten": (
        [*runs(BASE, around(0.95)), *runs("also", around(0.95, salt=1)), *runs("worse", around(0.8, salt=2))],
        (
            "No scheme is shown to beat the baseline torch_default, which learns in all 10 runs and ends at 95.1 % "
            "test accuracy (128 steps to 80 % on validation); not told apart from it: also."
        ),
    ),
    "the baseline is the best": (
        [*runs(BASE, around(0.95)), *runs("worse", around(0.8, salt=2))],
        (
            "The baseline torch_default is the best of 2 schemes (95 % confidence): it learns in all 10 runs and ends "
            "at 95.1 % test accuracy (128 steps to 80 % on validation)."
        ),
    ),
    "nothing told apart": (
        [*runs(BASE, around(0.95)), *runs("also", around(0.95, salt=1))],
        (
            "The 2 schemes are not told apart in test accuracy: they learn in all 10 runs and end at 95.1 to 95.2 % "
            "test accuracy; a difference of up to 0.9 points from torch_default may hide (95 % confidence)."
        ),
    ),
    "pairs and means disagree": (
        [*runs(BASE, [0.9] * 13), *runs("odd", [0.899] * 7 + [0.97, 0.98, 0.96, 0.99, 0.97, 0.96])],
        (
            "The 2 schemes are not told apart in test accuracy: they learn in all 13 runs and end at 90.0 to 93.3 % "
            "test accuracy; undecided: odd."
        ),
    ),
    "none learns": (
        [*stuck(BASE), *stuck("zeros")],
        "No scheme learns: 0 of 20 runs beat always answering the most frequent class (10 %).",
    ),
    "some diverge, none learns": (
        [*stuck(BASE), *(diverged(a_trial("huge", seed)) for seed in range(10))],
        "No scheme learns: 0 of 20 runs beat always answering the most frequent class (10 %); 10 diverged.",
    ),
    "all diverge": (
        [diverged(a_trial(scheme, seed)) for scheme in (BASE, "huge") for seed in range(10)],
        "No scheme learns: all 20 runs diverged.",
    ),
    "too few seeds": (
        [*runs(BASE, around(0.5, 3)), *runs("good", around(0.95, 3))],
        (
            "3 seeds cannot tell 2 schemes apart (at least 6 are needed): measured test accuracies run from 50.2 % "
            "(torch_default) to 95.2 % (good)."
        ),
    ),
    "too few images": (
        [*runs(BASE, around(0.5), **FEW_IMAGES), *runs("good", around(0.9), **FEW_IMAGES)],
        (
            "6 validation images cannot show which of 2 schemes learn: measured test accuracies run from 50.1 % "
            "(torch_default) to 90.1 % (good)."
        ),
    ),
    "all failed": (
        [failed(a_trial(scheme, seed), layers=()) for scheme in (BASE, "good") for seed in range(3)],
        "Nothing was measured: all 6 runs failed.",
    ),
    "alone": (
        runs(BASE, [0.9, 0.9]),
        (
            "torch_default learns in both runs and ends at 90.0 % test accuracy (128 steps to 80 % on validation); "
            "there is no other scheme to compare it with."
        ),
    ),
    "the best loses some runs": (
        [*stuck(BASE), *runs("good", around(0.95, 9)), diverged(a_trial("good", 9)), *stuck("zeros")],
        (
            "good is the best of 3 schemes (95 % confidence): it learns in 9 of 10 runs and ends at 95.2 % test "
            "accuracy where it finishes (128 steps to 80 % on validation); the baseline torch_default never learns (0 "
            "of 10)."
        ),
    ),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_each_kind_of_outcome_has_its_sentence(outcome):
    records, said = OUTCOMES[outcome]
    assert answers(a_comparison(records)) == (said,)
    assert len(textwrap.wrap(said, 80)) <= 3


def test_several_settings_are_counted_before_each_is_told():
    records = [
        record
        for model in ("mlp", "cnn")
        for scheme, mean in ((BASE, 0.8), ("good", 0.9 if model == "mlp" else 0.7))
        for seed, test in enumerate(around(mean))
        for record in [finished(a_trial(scheme, seed, model=model), test=round(test, 6), val=test)]
    ]
    first, *each = answers(a_comparison(records))
    assert first == "Of 2 settings, may be the best (95 % confidence in each): good in 1, torch_default in 1."
    assert [said.partition(":")[0] for said in each] == ["mlp", "cnn"]


def frame(laws, n, rng):
    """Marked trials of schemes that draw from these laws, seed by seed."""
    shared = rng.normal(size=n)
    every = []
    for scheme, law in laws.items():
        learned, accuracy = law(rng, shared)
        outcome = np.where(np.isnan(accuracy), "diverged", "finished")
        columns = {"scheme": scheme, "seed": range(n), "test_accuracy": accuracy, "learned": learned}
        every.append(pd.DataFrame({**columns, "outcome": outcome, "steps_to_target": np.nan, "steps": 100}))
    return pd.concat(every, ignore_index=True)


def best(trials):
    schemes = list(trials["scheme"].unique())
    return best_of(trials, schemes, schemes[0], judge(trials, schemes, schemes[0]))


def test_the_seeds_that_verdicts_need_suffice_for_the_set():
    laws = {f"s{i}": learner(1.0, 0.8 + i / 50, spread=1e-4) for i in range(8)}
    found = best(frame(laws, 9, np.random.default_rng(0)))
    assert found.candidates == ("s7",)
    assert found.ranked == tuple(f"s{i}" for i in range(7, -1, -1))
    assert best(frame(laws, 8, np.random.default_rng(0))).candidates == ("s7", "s0")  # too few to judge the baseline


@pytest.mark.parametrize("law", [learner(1.0), learner(0.7, diverges=True), learner(1.0, spread=0.005, spike=0.33)])
def test_the_set_holds_the_best_with_its_confidence(law):
    rng = np.random.default_rng(1)
    families = [best(frame({f"s{i}": law for i in range(4)}, 8, rng)) for _ in range(40)]
    for scheme in ("s0", "s1"):  # the baseline, and any other: alike, so each may be called the best one
        assert sum(scheme in found.beaten_by for found in families) <= 6  # of 40 at .05: p < .01


def test_a_scheme_leaves_the_set_exactly_where_its_verdict_says_worse():
    rng = np.random.default_rng(2)
    for gap in np.linspace(-0.03, 0.03, 25):
        trials = frame({BASE: learner(1.0, 0.9), "other": learner(1.0, 0.9 + gap)}, 10, rng)
        (verdict,) = judge(trials, [BASE, "other"], BASE)
        left = {1: {BASE}, -1: {"other"}, 0: set()}[verdict.accuracy.ahead]
        assert set(best(trials).beaten_by) == left
