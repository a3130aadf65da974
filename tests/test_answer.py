"""The first line: which schemes may be the best, and the sentence that says so, for every kind of outcome."""

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


OUTCOMES = {
    "one best": (
        [*stuck(BASE), *runs("good", around(0.95)), *runs("fair", around(0.85, salt=1))],
        (
            "good is the best of 3 schemes (95 % confidence): it learns in every run (10 of 10) and ends at 95.1 % "
            "test accuracy (128 steps to 80 % on validation); torch_default never learns (0 of 10 runs)."
        ),
    ),
    "several best": (
        [*stuck(BASE), *runs("good", around(0.95)), *runs("also", around(0.95, salt=1)), *stuck("zeros")],
        (
            "also and good are best, not told apart (95 % confidence): they learn in every run (10 of 10) and end at "
            "95.1 to 95.2 % test accuracy (128 steps to 80 % on validation); torch_default never learns (0 of 10 runs)."
        ),
    ),
    "the baseline is not beaten": (
        [*runs(BASE, around(0.95)), *runs("also", around(0.95, salt=1)), *runs("worse", around(0.8, salt=2))],
        (
            "No scheme is shown to beat the baseline torch_default: it learns in every run (10 of 10) and ends at 95.1 "
            "% test accuracy (128 steps to 80 % on validation); not told apart from it: also."
        ),
    ),
    "nothing told apart": (
        [*runs(BASE, around(0.95)), *runs("also", around(0.95, salt=1))],
        (
            "The 2 schemes are not told apart in test accuracy: they learn in every run (10 of 10) and end at 95.1 to "
            "95.2 % test accuracy (128 steps to 80 % on validation)."
        ),
    ),
    "none learns": (
        [*stuck(BASE), *stuck("zeros")],
        "No scheme learns: none of 20 runs is better than always guessing the most frequent class.",
    ),
    "too few seeds": (
        [*runs(BASE, around(0.5, 3)), *runs("good", around(0.95, 3))],
        (
            "3 seeds cannot tell 2 schemes apart (at least 6 are needed): measured test accuracies run from 50.2 % "
            "(torch_default) to 95.2 % (good)."
        ),
    ),
    "all failed": (
        [failed(a_trial(scheme, seed), layers=()) for scheme in (BASE, "good") for seed in range(3)],
        "Nothing was measured: 6 runs failed.",
    ),
    "alone": (
        runs(BASE, [0.9, 0.9]),
        (
            "torch_default learns in every run (2 of 2) and ends at 90.0 % test accuracy (128 steps to 80 % on "
            "validation); there is no other scheme to compare it with."
        ),
    ),
    "the best loses some runs": (
        [*stuck(BASE), *runs("good", around(0.95, 9)), diverged(a_trial("good", 9)), *stuck("zeros")],
        (
            "good is the best of 3 schemes (95 % confidence): it learns in 9 of 10 runs and ends at 95.2 % test "
            "accuracy where it finishes (128 steps to 80 % on validation); torch_default never learns (0 of 10 runs)."
        ),
    ),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_each_kind_of_outcome_has_its_sentence(outcome):
    records, said = OUTCOMES[outcome]
    assert answers(a_comparison(records)) == (said,)


def test_images_that_cannot_show_learning_leave_accuracy_alone():
    few = replace(DATA, classes=2, val_size=6, guess=0.5)
    records = [*runs(BASE, around(0.5), data=few), *runs("good", around(0.9), data=few)]
    (said,) = answers(a_comparison(records))
    assert "learn" not in said


def test_several_settings_are_counted_before_each_is_told():
    records = [
        record
        for model in ("mlp", "cnn")
        for scheme, mean in ((BASE, 0.8), ("good", 0.9 if model == "mlp" else 0.7))
        for seed, test in enumerate(around(mean))
        for record in [finished(a_trial(scheme, seed, model=model), test=round(test, 6), val=test)]
    ]
    first, *each = answers(a_comparison(records))
    assert first == "May be the best, of 2 settings: good in 1 and torch_default in 1."
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
