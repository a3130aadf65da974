"""Claims against SciPy's exact test and hand-made trials; conditions of --fail-if."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from initbench.analysis.claims import METRICS, judge_claims
from initbench.analysis.conditions import COLUMNS, Condition, Operand, check_condition, parse_condition
from initbench.analysis.statistics.flips import sign_flip_interval
from initbench.analysis.summary import PLACE
from initbench.errors import UsageError
from initbench.records.recipe import Claim
from tests.analysis_data import a_comparison, a_trial, diverged, failed, finished


def claim(metric="test_accuracy", better="a", than="b", **fields):
    return Claim(text="a beats b", metric=metric, better=better, than=than, **fields)


def trials(better, than, metric="test_accuracy", **fields):
    """A frame of two schemes, one value a seed; NaN diverged."""
    rows = [
        {"dataset": "digits", "model": "mlp", "optimizer": "sgd", "batch_size": 64, "lr": 0.05, "scheme": scheme,
         "seed": seed, "steps": 200, "outcome": "finished" if np.isfinite(value) else "diverged",
         metric: value} | fields
        for scheme, values in (("a", better), ("b", than))
        for seed, value in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def judge(claims, frame, **options):
    return judge_claims([claims] if isinstance(claims, Claim) else claims, frame, **options)


RNG = np.random.default_rng(0)
HIGH, LOW = 0.9 + RNG.normal(scale=0.01, size=10), 0.8 + RNG.normal(scale=0.01, size=10)


@pytest.mark.parametrize("metric", [m for m in METRICS if m != "steps_to_target"])
def test_every_metric_has_a_better_direction_and_effects_are_positive_in_it(metric):
    more = metric == "test_accuracy"
    (good,) = judge(claim(metric), trials(HIGH, LOW, metric) if more else trials(LOW, HIGH, metric))
    (bad,) = judge(claim(metric), trials(LOW, HIGH, metric) if more else trials(HIGH, LOW, metric))
    assert (good.status, bad.status) == ("supported", "refuted")
    assert good.effect == pytest.approx(-bad.effect) == pytest.approx((HIGH - LOW).mean())
    assert good.interval.low > 0 > bad.interval.high
    assert good.n == 10
    assert "ahead by" in good.text
    assert bad.text.startswith("refuted: behind by ")


def test_effect_interval_and_p_are_those_of_scipy():
    better, than = RNG.normal(size=8), RNG.normal(size=8)
    (found,) = judge(claim(), trials(better, than))
    exact = stats.permutation_test((better - than,), np.mean, permutation_type="samples", n_resamples=np.inf)
    low, high = sign_flip_interval(better - than, 0.05)
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high))
    assert found.p == pytest.approx(exact.pvalue)


def test_holm_is_over_all_claims_and_settles_how_many_seeds_are_enough():
    frame = trials(HIGH[:6], LOW[:6])
    (alone,) = judge(claim(), frame)
    assert (alone.status, alone.p) == ("supported", 2 / 2**6)
    several = judge([claim(), claim(), claim(than="absent")], frame)
    assert [(v.status, v.p) for v in several[:2]] == [("undecided", 4 / 2**6)] * 2
    assert several[0].seeds_needed == 7
    assert "too few seeds, at least 7 needed" in several[0].text
    assert (several[2].status, several[2].p, several[2].effect, several[2].n) == ("undecided", None, None, 0)


def test_no_detectable_difference_says_the_seeds_that_would_settle_it():
    noise = np.array([1, -1, 2, -2, 1, -1, 2, -3, 3, -2]) / 100
    (open_still,) = judge(claim(), trials(0.9 + noise, np.full(10, 0.9)))
    assert open_still.status == "undecided"
    assert open_still.seeds_needed > 10
    assert "no detectable difference (about 36 seeds would detect a difference of 1 point): " in open_still.text
    (closed,) = judge(claim(), trials(0.9 + noise / 100, np.full(10, 0.9)))
    assert closed.seeds_needed is None
    assert "(10 seeds would detect one of 1 point at least 4 times in 5)" in closed.text
    (same,) = judge(claim(), trials([0.9] * 10, [0.9] * 10))
    assert (same.status, same.p, same.effect, same.seeds_needed) == ("undecided", 1.0, 0.0, None)


def test_nothing_is_decided_for_the_side_that_lost_more_trials_to_divergence():
    holes = HIGH.copy()
    holes[:2] = np.nan
    (found,) = judge(claim(), trials(holes, LOW))
    assert (found.status, found.n, found.dropped) == ("undecided", 8, 2)
    assert "survivors only" in found.text
    assert "2 of 10 seeds left out" in found.text
    (other,) = judge(claim(better="b", than="a"), trials(holes, LOW))
    assert other.status == "undecided"
    worse = LOW.copy()
    worse[:2] = np.nan
    assert judge(claim(), trials(HIGH, worse))[0].status == "supported"


def test_steps_count_misses_and_divergence_as_the_budget_and_leave_failures_out():
    frame = pd.concat([
        trials([20.0] * 8, [np.nan] * 8, "steps_to_target"),
        trials([30.0], [np.nan], "steps_to_target").assign(seed=8, outcome=["finished", "failed"]),
    ])  # fmt: skip
    frame["steps_to_target"] = frame["steps_to_target"].astype("Int64")
    (found,) = judge(claim("steps_to_target"), frame)
    assert (found.status, found.effect, found.n, found.dropped) == ("supported", 180, 8, 1)
    assert "ahead by 180 steps in steps to target" in found.text


def test_a_gap_is_compared_between_trials_that_learned():
    frame = trials([0.0] * 8, [0.1, 0.2] * 4, "generalization_gap")
    assert judge(claim("generalization_gap"), frame)[0].status == "supported"
    (found,) = judge(claim("generalization_gap"), frame.assign(learned=frame["scheme"] == "b"))
    assert (found.status, found.n, found.dropped) == ("undecided", 0, 8)


def outcomes(better, than, n=8, metric="test_accuracy", **columns):
    """A frame of two schemes of which so many of n seeds learn, with values of the metric that follow from it."""
    learned = np.concatenate([np.arange(n) < better, np.arange(n) < than])
    frame = trials(np.zeros(n), np.zeros(n), metric).assign(learned=learned, **columns)
    return frame.assign(**{metric: np.where(learned, 0.9, 0.1) + np.resize(HIGH, 2 * n) / 100})


@pytest.mark.parametrize(
    ("better", "than", "n", "status", "said"),
    [
        (
            6,
            0,
            6,
            "supported",
            "supported: learns where the other does not (6 of 6 against 0 of 6), p = 0.031 after Holm over 1 claim",
        ),
        (0, 6, 6, "refuted", "refuted: does not learn where the other does (0 of 6 against 6 of 6), p = 0.031"),
        (209, 0, 500, "supported", "supported: learns more often than the other (209 of 500 against 0 of 500)"),
        (0, 0, 8, "undecided", "undecided: neither scheme learns (0 of 8 against 0 of 8)"),
        (2, 1, 8, "undecided", "undecided: too few learn to compare test accuracy (2 of 8 against 1 of 8)"),
    ],
)
def test_who_learns_decides_a_claim_as_it_decides_a_verdict(better, than, n, status, said):
    (found,) = judge(claim(), outcomes(better, than, n))
    assert found.status == status
    assert found.text.startswith(said)


@pytest.mark.parametrize("metric", ["instability", "generalization_gap", "test_loss", "final_train_loss"])
def test_what_does_not_learn_wins_nothing(metric):
    # `a` stays at chance, where nothing moves: every value of it is lower than those of the side that learns.
    frame = trials([0.01] * 8, LOW[:8], metric).assign(learned=[False] * 8 + [True] * 8)
    (found,) = judge(claim(metric), frame)
    assert (found.status, found.n) == ("undecided", 0 if metric in {"instability", "generalization_gap"} else 8)
    assert "learned 0 of 8 against 8 of 8" in found.text
    (idle,) = judge(claim(metric), frame.assign(learned=False))
    assert idle.status == "undecided"
    assert judge(claim("initial_loss"), trials([0.01] * 8, LOW[:8], "initial_loss"))[0].status == "supported"


def test_both_sides_censored_are_ahead_by_nothing():
    (found,) = judge(
        claim("steps_to_target"), trials([np.nan] * 8, [np.nan] * 8, "steps_to_target", outcome="finished")
    )
    assert found.text == "undecided: neither scheme reaches the target (0 of 8 against 0 of 8); at lr 0.05"
    assert (found.effect, found.interval, found.p) == (None, None, None)
    (same,) = judge(claim("steps_to_target"), trials([4.0] * 8, [4.0] * 8, "steps_to_target"))
    assert "the same in all 8 pairs" in same.text
    assert "interval" not in same.text


def test_a_claim_names_the_rates_that_it_was_judged_at():
    frame = trials(HIGH, LOW)
    assert judge(claim(), frame)[0].text.endswith("; at lr 0.05")
    assert judge(claim(), pd.concat([frame, frame.assign(lr=0.1)]))[0].rates == "lr 0.05, 0.1"
    frame["lr"] = np.where(frame["scheme"] == "a", 0.1, 0.03)
    assert judge(claim(), frame, pair_on=PLACE)[0].rates == "lr 0.1 against 0.03"


def test_a_claim_that_a_table_decides_agrees_with_it():
    # Six seeds and two claims: by themselves the claims would need seven, the one comparison of each table six.
    records = [
        finished(a_trial(scheme, seed, model=model), test=value + seed / 1000, val=value)
        for model in ("mlp", "cnn") for scheme, value in (("a", 0.9), ("b", 0.1)) for seed in range(6)
    ]  # fmt: skip
    claims = tuple(claim(where={"model": model}) for model in ("mlp", "cnn"))
    results = a_comparison(records, baseline="b", claims=(*claims, claim("test_loss", where={"model": "cnn"})))
    for found, verdict in zip(results.claims_judged, results.verdicts_full.itertuples(), strict=False):
        assert (found.status, verdict.accuracy_verdict) == ("supported", "learns")
        assert found.p == verdict.accuracy_p_holm == 2 / 2**6
        assert "after Holm over 1 scheme" in found.text
    assert results.claims_judged[2].p == 1
    (turned,) = a_comparison(records, baseline="a", claims=(claims[0],)).claims_judged
    assert turned.status == "supported"


def test_a_metric_that_was_not_recorded_decides_nothing():
    (found,) = judge(claim("instability"), trials(HIGH, LOW))
    assert (found.status, found.effect, found.n) == ("undecided", None, 0)
    assert "no seed has early instability for both schemes" in found.text
    assert judge(claim(), trials(HIGH, LOW).iloc[:0])[0].status == "undecided"


def test_where_narrows_and_several_settings_count_a_seed_once():
    one, two = trials(HIGH, LOW), trials(LOW, HIGH + 0.3, lr=0.1)
    frame = pd.concat([one, two])
    assert judge(claim(where={"lr": 0.05}), frame)[0].status == "supported"
    assert judge(claim(where={"dataset": "digits", "lr": 0.1}), frame)[0].status == "refuted"
    assert judge(claim(where={"dataset": "mnist"}), frame)[0].n == 0
    (both,) = judge(claim(), frame)
    assert both.n == 10
    assert both.effect == pytest.approx(((HIGH - LOW) + (LOW - HIGH - 0.3)).mean() / 2)
    (partial,) = judge(claim(), frame.iloc[:-1])  # seed 9 lacks a side in the second setting
    assert (partial.n, partial.dropped) == (9, 1)


def test_with_rates_of_their_own_schemes_pair_without_the_rate():
    frame = trials(HIGH, LOW)
    frame["lr"] = np.where(frame["scheme"] == "a", 0.1, 0.03)
    assert judge(claim(), frame)[0].n == 0
    assert judge(claim(), frame, pair_on=PLACE)[0].status == "supported"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.test_n < b.test_accuracy", Condition(Operand("a", "test_n"), "<", Operand("b", "test_accuracy"))),
        ("x(mode=')<').diverged > 1", Condition(Operand("x(mode=')<')", "diverged"), ">", 1.0)),
        ("a.diverged>=1", Condition(Operand("a", "diverged"), ">=", 1.0)),
        ("constant(0.05).test_accuracy <= 0.5", Condition(Operand("constant(0.05)", "test_accuracy"), "<=", 0.5)),
        (
            "conv=kaiming_uniform(mode='fan<out'); bias=constant(0.1).initial_loss > -1e-3",
            Condition(Operand("conv=kaiming_uniform(mode='fan<out'); bias=constant(0.1)", "initial_loss"), ">", -1e-3),
        ),
    ],
)  # fmt: skip
def test_conditions_are_read(text, expected):
    assert parse_condition(text) == expected
    assert parse_condition(str(expected)) == expected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is not a condition"),
        ("a.test_accuracy", "is not a condition"),
        ("a.test_accuracy == 1", "is not a condition"),
        ("a.diverged < b.diverged < 3", "is not a condition"),
        ("a.test_acuracy < 1", "did you mean 'test_accuracy'"),
        ("constant(0.1) < 1", "is not a column"),
        ("0.5 < a.test_accuracy", "is not a column"),
        ("test_accuracy < 1", "does not name a column"),
        (".test_accuracy < 1", "does not name a column"),
        ("a.test_accuracy < nan", "is not finite"),
        ("a.test_accuracy < inf", "is not finite"),
        ("a.test_accuracy < __import__('os')", "does not name a column"),
        ("a.model < 1", "is not a column"),
    ],
)
def test_what_is_no_condition_is_refused_with_the_remedy(text, part):
    with pytest.raises(UsageError, match=part):
        parse_condition(text)


def test_schemes_of_a_condition_are_made_canonical():
    condition = parse_condition("kaiming.diverged > xavier.diverged", {"kaiming": "k", "xavier": "x"}.__getitem__)
    assert condition.schemes == ("k", "x")
    assert str(condition) == "k.diverged > x.diverged"
    assert {"test_accuracy", "diverged", "steps_to_target"} <= set(COLUMNS)


def summary(*records):
    return a_comparison(records).summary


def of(scheme, test=0.9, **axes):
    return [finished(a_trial(scheme, seed, **axes), test=test) for seed in range(2)]


def test_a_condition_is_held_against_the_summary():
    frame = summary(*of("a", 0.8), *of("b", 0.9))
    assert check_condition(parse_condition("a.test_accuracy < b.test_accuracy"), frame) == (
        True,
        "a.test_accuracy < b.test_accuracy: met in digits, mlp(depth=8, width=64), sgd, lr 0.05 (0.8 against 0.9).",
    )
    assert not check_condition(parse_condition("a.test_accuracy >= b.test_accuracy"), frame)[0]
    assert check_condition(parse_condition("a.test_accuracy <= 0.8"), frame)[0]
    assert not check_condition(parse_condition("a.test_accuracy < 0.8"), frame)[0]
    assert check_condition(parse_condition("a.learned > a.diverged"), frame)[0]


def test_met_in_any_setting_is_met_and_named():
    frame = summary(*of("a"), *of("b", 0.8), *of("a", 0.7, dataset="mnist"), *of("b", 0.8, dataset="mnist"))
    is_met, sentence = check_condition(parse_condition("a.test_accuracy < b.test_accuracy"), frame)
    assert is_met
    assert "met in mnist" in sentence


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a.test_accuracy < b.test_accuracy", "b.test_accuracy has no value"),
        ("b.test_accuracy > 0.5", "b.test_accuracy has no value"),
        ("b.steps_to_target > 10", "b.steps_to_target has no value"),
        ("a.test_accuracy < c.test_accuracy", "c has no trial"),
        ("f.test_accuracy < 0", "f.test_accuracy has no value"),
    ],
)
def test_what_cannot_be_decided_counts_as_met_and_says_why(text, part):
    frame = summary(*of("a"), *(diverged(a_trial("b", s)) for s in (0, 1)), failed(a_trial("f")))
    is_met, sentence = check_condition(parse_condition(text), frame)
    assert is_met
    assert "counted as met" in sentence
    assert part in sentence


def test_without_trials_or_a_shared_setting_a_condition_counts_as_met():
    condition = parse_condition("a.test_accuracy < b.test_accuracy")
    assert check_condition(condition, summary(*of("a")).iloc[:0])[0]
    apart = summary(*of("a"), *of("b", 0.8, lr=0.1))
    assert "share no setting" in check_condition(condition, apart)[1]
    assert not check_condition(condition, apart, pair_on=PLACE)[0]
    shared = summary(*of("a"), *of("b", 0.8, lr=0.1), *of("b", 0.8))
    assert not check_condition(condition, shared)[0]  # the rate that b alone has decides nothing
