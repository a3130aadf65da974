"""Verdicts in tables, words and figures: their numbers, their family, what they say at the edges, tuned rates."""

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from analysis_data import a_comparison, a_curve, a_trial, diverged, failed, finished
from test_analysis_folder import Page, contents

from initbench.analysis.judgements import VERDICT_COLUMNS
from initbench.analysis.statistics.aggregate import interquartile_mean, probability_of_improvement
from initbench.analysis.statistics.families import adjust
from initbench.analysis.statistics.flips import ChoiceTest
from initbench.analysis.statistics.paired import compare_pairs
from initbench.analysis.statistics.survival import compare_steps, estimate_survival
from initbench.analysis.tuning import tune_rates
from initbench.cli.present import show_document, summary_document
from initbench.report.document import document_of
from initbench.report.figures.comparison import pictures
from initbench.report.folder import write_folder
from initbench.report.freshness import is_fresh
from initbench.report.markdown import summary_markdown
from initbench.report.page.comparison import render_report
from initbench.report.sentences import readings
from initbench.report.table_files import csv_bytes
from initbench.report.tables import across_remarks, across_tables, panel_tables

BASE = "torch_default"
LONG = "conv=kaiming_uniform(nonlinearity='relu', mode='fan_out'); linear=xavier_uniform; bias=constant(0.1)"
COLUMNS = (
    "dataset, model, optimizer, panel, batch_size, lr, scheme, baseline, baseline_lr, "
    "accuracy_verdict, accuracy_text, accuracy_difference, accuracy_difference_low, accuracy_difference_high, "
    "accuracy_confidence, accuracy_p, learned_p, "
    "accuracy_tested, accuracy_p_holm, "
    "accuracy_n, accuracy_dropped, improvement, improvement_low, improvement_high, "
    "correlation, correlation_low, correlation_high, accuracy_seeds_needed, "
    "speed_verdict, speed_text, steps_difference, steps_difference_low, steps_difference_high, steps_confidence, "
    "speed_factor, speed_factor_low, speed_factor_high, "
    "speed_p, speed_p_holm, logrank_p, first_p, speed_n, speed_dropped, speed_seeds_needed, "
    "budget, median_steps, median_steps_low, median_steps_high, "
    "restricted_mean, restricted_mean_low, restricted_mean_high, reached, watched, "
    "reached_share, reached_share_low, reached_share_high, "
    "expected_running_time, expected_running_time_low, expected_running_time_high"
)


def holm(p):
    return tuple(each.values_p for each in adjust([ChoiceTest(None, value) for value in p]))


def trials_of(scheme, tests, *, seeds=None, arrives=6, **fields):
    """One finished trial per test accuracy; from the `arrives`-th evaluation on it is beyond the target."""
    seeds = range(len(tests)) if seeds is None else seeds
    return [
        finished(
            a_trial(scheme, seed, **fields),
            test=test,
            curve=a_curve([0.1] * (arrives + seed % 2) + [0.9] * (10 - arrives - seed % 2)),
        )
        for seed, test in zip(seeds, tests, strict=True)
    ]


def noisy(mean, n=10, salt=0, spread=0.02):
    return list(np.round(mean + spread * np.random.default_rng(salt).standard_normal(n), 4))


def a_usual_comparison(n=10, **fields):
    return a_comparison(
        [
            *trials_of(BASE, noisy(0.80, n), arrives=8, **fields),
            *trials_of("good", noisy(0.90, n, 1), arrives=5, **fields),
            *trials_of(LONG, noisy(0.80, n, 2), arrives=8, **fields),
        ]
    )


def column(comparison, scheme, name):
    rows = comparison.trials[comparison.trials["scheme"] == scheme].sort_values("seed")
    return rows[name].to_numpy(dtype=np.float64)


def test_the_columns_are_the_contract_with_and_without_rows():
    for comparison in (a_usual_comparison(), a_comparison([])):
        assert list(comparison.verdicts_full.columns) == COLUMNS.split(", ") == list(VERDICT_COLUMNS)
        assert csv_bytes(comparison.verdicts_full).splitlines()[0].decode() == COLUMNS.replace(" ", "")


def test_shown_numbers_are_those_of_the_statistics_called_by_hand():
    comparison = a_usual_comparison()
    assert comparison.verdicts_full["scheme"].tolist() == ["good", LONG]
    row = comparison.verdicts_full.set_index("scheme").loc["good"]
    by_hand = compare_pairs(
        column(comparison, "good", "test_accuracy"),
        column(comparison, BASE, "test_accuracy"),
        smallest_interesting=0.01,
        alpha=0.05 / 2,
    )
    assert row["accuracy_confidence"] == 1 - 0.05 / 2
    assert row["accuracy_difference"] == by_hand.difference.value
    assert (row["accuracy_difference_low"], row["accuracy_difference_high"]) == (
        by_hand.difference.interval.low,
        by_hand.difference.interval.high,
    )
    assert (row["accuracy_p"], row["improvement"], row["correlation"]) == (
        by_hand.p,
        by_hand.improvement.value,
        by_hand.correlation.value,
    )
    everyone = np.ones(10, dtype=bool)
    steps = {scheme: column(comparison, scheme, "steps_to_target") for scheme in (BASE, "good")}
    speed = compare_steps(steps["good"], everyone, steps[BASE], everyone, budget=200, smallest_interesting=20)
    alone = estimate_survival(steps["good"], everyone, budget=200)
    assert (row["steps_difference"], row["speed_p"], row["logrank_p"], row["first_p"]) == (
        speed.restricted.difference.value,
        speed.restricted.p,
        speed.logrank_p,
        speed.first_p,
    )
    assert row["speed_factor"] == speed.factor.value
    assert (row["median_steps"], row["median_steps_high"]) == (alone.median.value, alone.median.interval.high)
    assert row["restricted_mean"] == alone.restricted_mean.mean
    assert row["expected_running_time"] == alone.expected_running_time.value
    assert (row["reached"], row["watched"], row["budget"]) == (10, 10, 200)


def test_holms_family_is_the_schemes_of_the_setting():
    one, two = a_usual_comparison(), a_usual_comparison(lr=0.1)
    both = replace(one, records=(*one.records, *two.records)).verdicts_full
    assert len(both) == 4
    for _, of_setting in both.groupby("lr"):
        assert of_setting["accuracy_p_holm"].tolist() == list(holm(of_setting["accuracy_p"].tolist()))
        assert of_setting["speed_p_holm"].tolist() == list(holm(of_setting["speed_p"].tolist()))
    assert both["accuracy_p_holm"].tolist() == one.verdicts_full["accuracy_p_holm"].tolist() * 2


def test_all_pairs_are_adjusted_over_all_pairs():
    pairs = a_usual_comparison().all_pairs()
    assert list(zip(pairs["scheme"], pairs["baseline"], strict=True)) == [("good", BASE), (LONG, BASE), (LONG, "good")]
    assert pairs["accuracy_p_holm"].tolist() == list(holm(pairs["accuracy_p"].tolist()))
    assert pairs["accuracy_verdict"].tolist() == ["better", "no difference", "worse"]


def test_pairs_are_of_one_seed_whatever_the_order_of_records():
    comparison = a_usual_comparison()
    shuffled = replace(comparison, records=comparison.records[::-1])
    pd.testing.assert_frame_equal(comparison.verdicts_full, shuffled.verdicts_full)


def test_a_diverged_trial_loses_its_pair_in_accuracy_and_counts_as_a_miss_in_steps():
    kept = trials_of("good", noisy(0.9, 9, 1), arrives=5)
    comparison = a_comparison([*trials_of(BASE, noisy(0.8)), *kept, diverged(a_trial("good", 9))])
    (row,) = comparison.verdicts_full.to_dict("records")
    assert (row["accuracy_n"], row["accuracy_dropped"], row["speed_n"], row["speed_dropped"]) == (9, 1, 10, 0)
    assert (row["reached"], row["watched"]) == (9, 10)
    assert "1 of 10 pairs left out" in row["accuracy_text"]
    assert "learned 9 of 10" in row["accuracy_text"]


def test_a_failed_trial_says_nothing_of_learning_nor_of_steps():
    kept = trials_of("good", noisy(0.9, 9, 1), arrives=5)
    comparison = a_comparison([*trials_of(BASE, noisy(0.8)), *kept, failed(a_trial("good", 9))])
    (row,) = comparison.verdicts_full.to_dict("records")
    assert (row["accuracy_n"], row["accuracy_dropped"], row["speed_n"], row["speed_dropped"]) == (9, 1, 9, 1)
    assert "learned" not in row["accuracy_text"]
    lost = a_comparison([*trials_of(BASE, noisy(0.8)), *(failed(a_trial("good", s)) for s in range(10))])
    (row,) = lost.verdicts_full.to_dict("records")
    assert row["accuracy_text"] == "nothing to compare: a trial failed in every pair of one seed"


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], None),
        (trials_of(BASE, [0.9, 0.8]), f"No verdict: {BASE} is the baseline, and there is no other scheme"),
        (trials_of("good", [0.9, 0.8]), f"No verdict: the baseline {BASE} has no trial here"),
        ([*trials_of(BASE, [0.8]), *trials_of("good", [0.9])], "too few seeds to tell: at least 6 needed, 1 compared"),
        (
            [*trials_of(BASE, [0.8, 0.7]), *trials_of("good", [0.9, 0.8])],
            "too few seeds to tell: at least 6 needed, 2 compared",
        ),
        (
            [*trials_of(BASE, [0.8] * 3), *trials_of("good", [0.9] * 3, seeds=(7, 8, 9))],
            "no seed is shared with the baseline",
        ),
        ([diverged(a_trial(s, i), curve=()) for s in (BASE, "good") for i in range(8)], "does not learn (0 of 8)"),
        ([failed(a_trial(s, i), layers=()) for s in (BASE, "good") for i in range(2)], "in every pair"),
    ],
)
def test_every_edge_says_something_true_everywhere(records, said, capsys):
    comparison = a_comparison(records)
    page = summary_markdown(document_of(comparison))
    html = render_report(document_of(comparison), [], [])
    show_document(document_of(comparison))
    printed = " ".join(capsys.readouterr().out.split())
    for text in (page, printed, html.replace("&#39;", "'")):
        assert said is None or said in text.replace("\n", " ")
        assert "nan" not in text.lower().replace("kaiming_normal", "").replace("finance", "")
    assert len(comparison.all_pairs()) == len(list(itertools.combinations(set(comparison.trials["scheme"]), 2)))
    assert all(row["accuracy_p"] is None or row["accuracy_p"] <= 1 for row in _document(comparison)["verdicts"])


def _document(comparison):
    return json.loads(json.dumps(summary_document(document_of(comparison), Path("x")), allow_nan=False))


def test_the_report_begins_with_the_answer():
    comparison = a_usual_comparison()
    document = document_of(comparison)
    page = Page(render_report(document, [], []))
    assert page.text.index("good is the best of 3 schemes (95 % confidence)") < page.text.index("Summary")
    for word in ("Holm", "sign-flip", "about k seeds", "Kaplan-Meier", "restricted mean", "log-rank", "as in COCO"):
        assert word in page.text


def test_equal_verdicts_share_a_line():
    more = [*trials_of("also", noisy(0.9, salt=1), arrives=5), *trials_of("far", noisy(0.7, salt=3), arrives=8)]
    (table,) = panel_tables(a_comparison([*a_usual_comparison().records, *more]))
    assert table.groups == (
        "better (p = 0.0078): good, also",
        "worse (p = 0.0078): far",
        f"no detectable difference: “{LONG}”",
        "faster to the target (p = 0.0078): good, also",
        "in steps, no detectable difference: far",
    )
    assert [row[0] for row in table.rows[:2]] == ["good", "also"]


def test_words_and_numbers_stand_in_the_report_and_in_the_markdown():
    comparison = a_usual_comparison()
    (table,) = panel_tables(comparison)
    assert table.head == f"Against {BASE}, paired by seed; Holm-adjusted over 2 schemes:"
    first = comparison.verdicts_full.iloc[0]
    assert table.lines[0].startswith(f"good: {first['accuracy_text']}, p = 0.0039. Faster by ")
    assert "In steps: no detectable difference" in table.lines[1]
    document = document_of(comparison)
    page, markdown = Page(render_report(document, [], [])).text, summary_markdown(document)
    for text in (page, markdown.replace("\\", "")):
        assert all(line in text for line in table.lines)
        assert all(sheet.caption in text for sheet in table.numbers)
        assert f"{first['correlation']:.2f}".replace("-", "−") in text
        assert "0.0039" in text


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("odd", [False, True])
def test_the_terminal_cuts_nothing(width, odd, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    comparison = a_usual_comparison()
    if odd:
        extra = [diverged(a_trial("good", 10)), failed(a_trial(LONG, 10)), *trials_of("x" * 70, noisy(0.8))]
        comparison = a_comparison([*comparison.records, *extra])
    show_document(document_of(comparison))
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines()) <= width
    assert "…" not in printed
    squeezed = "".join(printed.split())
    (table,) = panel_tables(comparison)
    for line in (table.head, *table.groups):
        assert "".join(line.split()) in squeezed
    for row in table.rows:
        for cell in row[1:]:
            values = re.findall(r"\[[^\])]*[\])]|p [=<] [\d.]+|[^\s\[]+ ± [\d.]+|\([^)]*\)|[^\s,]+", cell)
            assert all(value in printed for value in values)  # a number is never folded


def test_steps_show_their_interval_where_there_is_one():
    (table,) = panel_tables(a_usual_comparison())
    assert table.rows[0][:3] == ("good", "10/10", "16 [16, 32]")
    (few,) = panel_tables(a_usual_comparison(5))
    assert "[" not in few.rows[1][2]


# Several settings


def several(models=("mlp", "cnn"), n=10):
    usual = [a_usual_comparison(n, model=model).records for model in models]
    return a_comparison([record for records in usual for record in records])


def test_across_settings_shows_the_aggregates_and_what_they_hold():
    comparison = several()
    (of,) = comparison.across
    assert list(of.scores) == [BASE, "good", LONG]
    assert of.scores["good"].shape == (10, 2)
    by_hand = probability_of_improvement(of.scores["good"], of.scores[BASE])
    assert of.improvement["good"] == by_hand
    assert of.middle["good"] == interquartile_mean(of.scores["good"])
    (sheet,) = across_tables(comparison)
    assert sheet.rows[1][1] == "10 × 2"
    assert sheet.rows[1][2].startswith(f"{of.middle['good'].value:.3f} [")
    assert "10 seeds: expect a 95 % bootstrap interval" in across_remarks(comparison)[0]
    for text in (summary_markdown(document_of(comparison)), render_report(document_of(comparison), [], [])):
        assert "Across settings" in text
        assert sheet.rows[1][2] in text.replace("\\", "")
    assert [p.name for p in pictures(comparison)].count("profile") == 1


def test_one_setting_has_no_section_across_settings():
    comparison = a_usual_comparison()
    assert comparison.across == ()
    assert "Across settings" not in summary_markdown(document_of(comparison))


def test_across_settings_a_diverged_trial_ranks_below_all_and_a_failed_seed_is_left_out():
    records = list(several().records)
    lost = next(i for i, r in enumerate(records) if r.trial.scheme == "good" and r.trial.seed == 3)
    records[lost] = diverged(records[lost].trial)
    gone = next(i for i, r in enumerate(records) if r.trial.scheme == "good" and r.trial.seed == 5)
    records[gone] = failed(records[gone].trial)
    (of,) = a_comparison(records).across
    assert of.scores["good"].shape == (9, 2)
    assert of.scores["good"][3].tolist()[0] == -np.inf


@pytest.mark.parametrize("drop", [BASE, "good"])
def test_across_settings_only_schemes_in_all_of_them(drop):
    records = [r for r in several().records if r.trial.scheme != drop or r.trial.model == "mlp"]
    comparison = a_comparison(records)
    (of,) = comparison.across
    assert drop not in of.scores
    assert len(across_tables(comparison)[0].rows) == 2
    assert list(of.improvement) == ([] if drop == BASE else [LONG])


@pytest.mark.parametrize("n", [1, 2, 3])
def test_across_few_seeds_nothing_breaks(n, capsys):
    comparison = several(n=n)
    assert f"{n} seeds" in across_remarks(comparison)[0] or "no interval below 3 seeds" in across_remarks(comparison)[0]
    show_document(document_of(comparison))
    assert "Across settings" in capsys.readouterr().out


# Tuned learning rates

GRID = (0.01, 0.1)


def tuned(places=("mlp",)):
    """`good` is best at 0.1 and the others at 0.01 by validation loss; test accuracies depend on the lr."""
    tuning, scored = [], []
    for model, scheme, lr in itertools.product(places, (BASE, "good", "fair"), GRID):
        best = lr == (0.1 if scheme == "good" else 0.01)
        tuning += [
            finished(a_trial(scheme, 1000 + s, lr=lr, model=model), test=0.999, val_loss=0.1 if best else 0.5)
            for s in range(3)
        ]
        if best or lr == 0.01:
            scored += trials_of(scheme, noisy(0.9 if best else 0.7, salt=len(scheme)), lr=lr, model=model)
    return replace(a_comparison(scored), tuning=tuple(tuning))


def test_tuned_rates_make_two_panels():
    comparison = tuned()
    (choice,) = tune_rates(comparison.tuning)
    own, common = comparison.panels
    assert (own.rule, common.rule) == ("own lr", "common lr")
    assert own.rates == {BASE: 0.01, "good": 0.1, "fair": 0.01} == dict(choice.own)
    assert common.lr == choice.common == 0.01
    tables = panel_tables(comparison)
    assert [table.setting.split(", ")[-1] for table in tables] == [
        "each scheme at its own best lr",
        "all at the common lr 0.01",
    ]
    assert (tables[0].headers[1], [row[1] for row in tables[0].rows]) == ("lr", ["0.01", "0.1", "0.01"])
    assert "lr" not in tables[1].headers
    assert len(tables[0].lines) == len(tables[1].lines) == 2
    verdicts = comparison.verdicts_full
    assert verdicts["panel"].tolist() == ["own lr"] * 2 + ["common lr"] * 2
    assert verdicts["lr"].tolist() == [0.1, 0.01, 0.01, 0.01]
    assert set(verdicts["baseline_lr"]) == {0.01}
    assert verdicts["accuracy_verdict"].tolist()[2] == "worse"


def test_tuning_records_are_in_no_table_but_their_own():
    comparison = tuned()
    without = replace(comparison, tuning=())
    for name in ("trials", "curves", "layers", "summary"):
        pd.testing.assert_frame_equal(getattr(comparison, name), getattr(without, name))
    ids = {record.trial.id for record in comparison.tuning}
    assert not ids & set(comparison.trials["trial"])
    assert set(comparison.tuning_trials["trial"]) == ids
    assert (comparison.verdicts_full["accuracy_n"] == 10).all()
    # Not one number of a verdict moves with what the tuning trials measured on test.
    moved = tuple(r.model_copy(update={"final": replace(r.final, test_accuracy=0.0)}) for r in comparison.tuning)
    pd.testing.assert_frame_equal(comparison.verdicts_full, replace(comparison, tuning=moved).verdicts_full)


@pytest.mark.long
def test_a_tuned_folder_has_its_figures_and_its_tuning_table(tmp_path):
    comparison = tuned()
    write_folder(tmp_path, comparison)
    held = contents(tmp_path)
    kinds = ("loss", "accuracy", "survival", "steps_to_target", "final_accuracy")
    names = {f"plots/{kind}-{rule}-lr.png" for kind in kinds for rule in ("own", "common")}
    assert {name for name in held if name.endswith(".png")} == names | {"plots/signal.png", "plots/lr.png"}
    assert held["tuning.csv"].splitlines()[0] == held["trials.csv"].splitlines()[0]
    assert held["tuning.csv"].count(b"\n") == 1 + len(comparison.tuning)
    assert b"good, lr 0.1" in held["plots/loss-own-lr.svg"]
    assert b"good, lr 0.1" not in held["plots/loss-common-lr.svg"]
    assert b"(tuning seeds)" in held["plots/lr.svg"]
    assert is_fresh(tmp_path, comparison)
    assert not is_fresh(tmp_path, replace(comparison, tuning=comparison.tuning[1:]))
    assert any("tuning.csv" in note for note in document_of(comparison).notes)


def test_tuned_over_two_models_aggregates_each_rule_by_itself():
    comparison = tuned(("mlp", "cnn"))
    assert [panel.rule for panel in comparison.panels] == ["own lr", "common lr"] * 2
    assert [{panel.rule for panel in of.panels} for of in comparison.across] == [{"own lr"}, {"common lr"}]


def test_a_run_that_broke_off_while_tuning_shows_no_panel(capsys):
    comparison = replace(tuned(), records=())
    assert comparison.panels == ()
    show_document(document_of(comparison))
    assert "No trial is stored yet." in capsys.readouterr().out


def test_the_report_says_of_what_population_it_speaks_and_the_error_of_the_test_set():
    records = [finished(a_trial(scheme, seed), test=0.9) for scheme in (BASE, "orthogonal") for seed in range(3)]
    (said,) = [line for line in readings(a_comparison(records)) if "other seeds" in line]
    right = np.random.default_rng(0).binomial(297, 0.9, size=20_000) / 297
    assert "these 297 test images, not of other images" in said
    assert float(said.rpartition(" is ")[2].split()[0]) == pytest.approx(100 * right.std(), abs=0.06)
