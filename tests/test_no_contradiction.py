"""Kind, interval, p and words of a verdict agree, and so do a claim and a verdict that ask the same."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
from analysis_data import DATA, a_comparison, a_curve, a_trial, diverged, failed, finished
from hypothesis import given
from hypothesis import strategies as st

from initbench.analysis.comparing import Sides, compare_accuracies, compare_speeds
from initbench.analysis.statistics.intervals import ALPHA
from initbench.analysis.verdicts import judge_accuracy, judge_speed
from initbench.records.recipe import Claim
from initbench.report.answer import answers
from initbench.report.tables import panel_tables
from initbench.report.verdict_tables import difference_cell
from tests.long_form import examples

BASE, BUDGET = "torch_default", 200
MEANS = {"better", "worse", "faster", "slower"}
AHEAD = {"better", "learns", "learns more often", "faster", "reaches", "reaches more often"}
BEHIND = {"worse", "learns less often", "does not learn", "slower", "reaches less often", "does not reach"}
OPEN = {"no difference", "too few seeds"}
NUMBER = r"−?\d[\d.,]*"


def excludes(interval, null=0.0):
    return interval is not None and interval.high is not None and not interval.low <= null <= interval.high


def told(text, pattern):
    """The numbers of the first match in a text, as a reader sees them."""
    found = re.search(pattern.replace("#", f"({NUMBER})"), text)
    return [float(number.replace("−", "-").replace(",", "")) for number in found.groups()] if found else None


def check_words(verdict, tests, pairs):
    """Check that a reader cannot take the interval, p or pairs for something else than the kind."""
    said = told(verdict.text, "interval # to #")
    if said and verdict.kind in {*MEANS, *OPEN}:
        assert (not said[0] <= 0 <= said[1]) == (verdict.kind in MEANS)
    mean, most = pairs.difference.value, max(pairs.wins, pairs.losses)
    if mean is not None and mean * (pairs.wins - pairs.losses) < 0 and verdict.kind in {*MEANS, *OPEN, "undecided"}:
        assert f"in {most} of {pairs.n} pairs" in verdict.text
    if verdict.seeds_needed is not None:
        assert verdict.kind in OPEN
        assert verdict.seeds_needed > verdict.n
        if verdict.kind == "no difference":  # with fewer, no test could reject at its level
            assert 2.0 ** (1 - verdict.seeds_needed) <= tests.values_level


def check_numbers(verdict, tests, pairs, higher):
    """Check that one test decides: the interval and p are its own, at its level."""
    rejects = tests.values_p is not None and tests.values_p <= ALPHA
    if pairs.difference.value is not None:
        assert excludes(pairs.difference.interval) == rejects
    decided = verdict.p is not None and verdict.kind in AHEAD | BEHIND
    assert verdict.ahead == (0 if not decided else 1 if verdict.kind in AHEAD else -1)
    if decided:
        assert verdict.p <= ALPHA
    if verdict.kind in MEANS:
        assert rejects
        assert higher * pairs.difference.value * verdict.ahead > 0
    if verdict.kind in OPEN:
        assert not rejects
        assert verdict.p > ALPHA


def a_side(rng, n, *, steps):
    """Values and successes of n trials of a scheme: some never succeed, some always, some spread, spike or diverge."""
    succeeded = rng.random(n) < rng.choice([0.0, 0.2, 0.5, 0.8, 1.0, 1.0])
    if steps:
        arrivals = np.clip(
            rng.choice([4, 8, 16, 64]) * np.exp(rng.choice([0.1, 0.5, 1]) * rng.normal(size=n)), 1, BUDGET
        )
        return np.where(succeeded, np.round(arrivals), BUDGET), succeeded
    high = rng.choice([0.85, 0.9, 0.91]) + rng.choice([0.001, 0.01, 0.05]) * rng.normal(size=n)
    high = np.where(rng.random(n) < rng.choice([0, 0.2]), rng.uniform(0.2, 0.8, n), high)
    low = np.nan if rng.random() < 0.3 else 0.1 + 0.005 * rng.normal(size=n)
    return np.round(np.where(succeeded, high, low), rng.choice([2, 6])), succeeded


@examples(300)
@given(st.integers(0, 2**32))
def test_kind_interval_p_and_words_agree(seed):
    rng = np.random.default_rng(seed)
    most, steps = rng.integers(1, 13), bool(rng.integers(2))
    family = []
    for _ in range(rng.integers(1, 5)):
        n = most if rng.random() < 0.7 else rng.integers(1, 13)  # others lost seeds
        (values, succeeded), (theirs, also) = a_side(rng, n, steps=steps), a_side(rng, n, steps=steps)
        family.append(Sides(values, theirs, succeeded, also))
    if not steps:
        accuracies = compare_accuracies(family, 0.01)
        for verdict, each in zip(judge_accuracy(accuracies), accuracies, strict=True):
            check_numbers(verdict, each.tests, each.pairs, 1)
            check_words(verdict, each.tests, each.pairs)
            cell = difference_cell(SimpleNamespace(accuracy=verdict, accuracy_comparison=each))
            ends, p = told(cell, r"\[#, #\]"), told(cell, "p [<=] #")
            assert ends is None or p is None or (not ends[0] <= 0 <= ends[1]) == (p[0] <= ALPHA)
        return
    speeds = compare_speeds(family, BUDGET, 20)
    for verdict, each in zip(judge_speed(speeds), speeds, strict=True):
        pairs, factor = each.speed.restricted, each.speed.factor
        check_numbers(verdict, each.tests, pairs, -1)
        check_words(verdict, each.tests, pairs)
        if factor.value is not None:
            assert excludes(factor.interval, 1.0) == excludes(pairs.difference.interval)
            assert np.sign(factor.value - 1) == -np.sign(pairs.difference.value)
            assert factor.interval is None or factor.interval.low <= factor.value <= factor.interval.high


# What one trial does: it fails, diverges, stays at chance, or learns to an accuracy and reaches the target at a step.
LAWS = ((None,), ("diverged",), ((0.1, None),), ((0.9, 8), (0.91, 4), (0.9, 32)), ((0.95, 1), (0.95, 4)),
        ((0.1, None), (0.9, 8)), ((0.9, 128), (0.86, 32), (0.5, 1)), ((0.9, 8), "diverged", None))  # fmt: skip


@st.composite
def runs(draw):
    """What each trial of two to four schemes does, each scheme with a law and a number of seeds of its own."""
    usual, ends = draw(st.integers(1, 12)), {}
    for scheme in (BASE, "a", "b", "c")[: draw(st.integers(2, 4))]:
        law, n = draw(st.sampled_from(LAWS)), draw(st.sampled_from([usual, usual, 10]))
        ends[scheme] = draw(st.lists(st.sampled_from(law), min_size=n, max_size=n))
    return ends


def a_record(trial, end, data):
    if end is None:
        return failed(trial, data=data)
    if end == "diverged":
        return diverged(trial, data=data)
    accuracy, arrival = end
    steps = (0, 1, 4, 8, 32, 128, BUDGET)
    curve = a_curve([0.9 if arrival is not None and step >= arrival else 0.1 for step in steps], steps=steps)
    return finished(trial, test=accuracy, val=accuracy, curve=curve, data=data)


@examples(32)
@given(runs(), st.integers(0, 9), st.sampled_from([1, -1]))
def test_claims_answer_and_table_agree_with_the_verdicts(runs, few, turned):
    data = DATA if few else replace(DATA, val_size=2)  # which shows no learning
    comparison = a_comparison(
        [a_record(a_trial(scheme, seed), end, data) for scheme, ends in runs.items() for seed, end in enumerate(ends)]
    )
    ((panel, judgements),) = comparison.judgements.items()
    check_answer(comparison, judgements, comparison.best[panel].candidates)
    asked = [(judgement, metric) for judgement in judgements for metric in ("test_accuracy", "steps_to_target")]
    claims = [
        Claim(text="c", metric=metric, better=one, than=other)
        for judgement, metric in asked
        for one, other in [(judgement.scheme, judgement.baseline)[::turned]]
    ]
    found = a_comparison(comparison.records, claims=tuple(claims)).claims_judged
    for (judgement, metric), claim in zip(asked, found, strict=True):
        verdict = judgement.accuracy if metric == "test_accuracy" else judgement.speed
        check_claim(claim, verdict, judgement.tests(metric), turned)


def check_claim(claim, verdict, tests, turned):
    """Check that the claim has the decision, the numbers and the words of the verdict that asks the same."""
    assert claim.status == {1: "supported", -1: "refuted", 0: "undecided"}[turned * verdict.ahead]
    assert (claim.p, claim.seeds_needed) == (verdict.p, verdict.seeds_needed)
    if verdict.p is not None:
        assert f"after Holm over {tests.family} scheme" in claim.text
        assert claim.confidence == 1 - tests.values_level
    for words in ("no detectable difference", "too few seeds", "too few validation images", "survivors only"):
        assert (words in claim.text) == (words in verdict.text)


def check_answer(comparison, judgements, candidates):
    """Check that the first line and the lines below the table say nothing that a verdict or its numbers deny."""
    said, (table,) = " ".join(answers(comparison)), panel_tables(comparison)
    below = " ".join((*table.groups, *table.lines))
    assert candidates
    for each in judgements:
        assert each.scheme not in candidates or each.accuracy.ahead >= 0
        assert BASE not in candidates or each.accuracy.ahead <= 0
        if "not told apart in test accuracy" in said and each.accuracy.kind != "undecided":
            assert not excludes(each.accuracy_comparison.pairs.difference.interval)
        assert each.absent or each.accuracy.beside in below
