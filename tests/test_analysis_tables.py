"""Frames, summaries and the cells people read, on records with known numbers."""

import csv
import io
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from analysis_data import (
    DATA,
    LN_10,
    a_comparison,
    a_curve,
    a_trial,
    diverged,
    failed,
    finished,
)
from hypothesis import given
from hypothesis import strategies as st

from initbench.analysis.panels import settings_of, suffixes
from initbench.analysis.statistics.intervals import Estimate
from initbench.comparison import Comparison
from initbench.core.text import markdown, printable, slug, spreadsheet
from initbench.records.record import Final
from initbench.report.answer import answers
from initbench.report.cells import mean_cell
from initbench.report.document import document_of
from initbench.report.markdown import summary_markdown
from initbench.report.sentences import introduction
from initbench.report.table_files import csv_bytes
from initbench.report.tables import panel_tables

TRIALS = (
    "trial, dataset, model, scheme, optimizer, lr, batch_size, steps, seed, device, precision, outcome, initial_loss, "
    "final_train_loss, final_train_accuracy, final_val_loss, final_val_accuracy, test_loss, test_accuracy, "
    "generalization_gap, steps_to_target, seconds_init, seconds_train, initialization_steps"
)
CURVES = "trial, scheme, lr, seed, step, epoch, train_loss, val_loss, val_accuracy"
LAYERS = (
    "trial, scheme, seed, layer, kind, fan_in, fan_out, weight_std, forward_moment, gradient_moment, dead_fraction, "
    "cosine, forward_moment_predicted, gradient_moment_predicted, cosine_predicted, predicted_from, spread, "
    "nonlinearity, forward_std, activation_moment, activation_std, gradient_std, weight_gradient_moment, "
    "weight_gradient_std, weight_norm, effective_rank, units, outputs, zero_rows, duplicate_rows, antiparallel_rows, "
    "symmetric_units"
)
SUMMARY = (
    "dataset, model, optimizer, batch_size, lr, scheme, precision, n, finished, learned, diverged, failed, "
    "steps_to_target, reached, test_accuracy, test_accuracy_low, test_accuracy_high, test_n, "
    "initial_loss, initial_loss_low, initial_loss_high, initial_loss_n, "
    "final_val_loss, final_val_loss_low, final_val_loss_high, final_val_loss_n, "
    "generalization_gap, generalization_gap_low, generalization_gap_high, generalization_gap_n, seconds_train, "
    "initialization_steps, steps_with_initialization, seconds_with_initialization"
)


def seeds(make, count, scheme="kaiming_uniform", **fields):
    return [make(a_trial(scheme, seed), **fields) for seed in range(count)]


def only_row(records, **fields):
    return a_comparison(records, **fields).summary.iloc[0]


def only_cells(records, **fields):
    (table,) = panel_tables(a_comparison(records, **fields))
    return dict(zip([h.split(" (")[0] for h in table.headers], table.rows[0], strict=True))


@pytest.mark.parametrize("records", [[], [finished(a_trial())], [failed(a_trial(), layers=())]])
def test_columns_are_the_contract_with_and_without_rows(records):
    comparison = a_comparison(records)
    frames = (comparison.trials, comparison.curves, comparison.layers, comparison.summary)
    for frame, columns in zip(frames, (TRIALS, CURVES, LAYERS, SUMMARY), strict=True):
        assert list(frame.columns) == columns.split(", ")
        assert csv_bytes(frame).splitlines()[0].decode() == columns.replace(" ", "")


def test_a_finished_trial_in_a_row():
    record = finished(a_trial(seed=3), test=0.91)
    row = a_comparison([record]).trials.iloc[0]
    assert row["trial"] == record.trial.id
    assert row["initial_loss"] == record.curve[0].val_loss
    assert row["generalization_gap"] == pytest.approx(0.25 - 0.2)
    assert (row["test_accuracy"], row["seconds_train"], row["outcome"]) == (0.91, 4.0, "finished")


def test_the_target_is_reached_at_the_first_point_at_or_above_it():
    record = finished(a_trial(), curve=a_curve([0.1, 0.3, 0.8, 0.5, 0.9]))
    assert a_comparison([record], target=0.8).trials["steps_to_target"].tolist() == [2]
    assert a_comparison([record], target=0.95).trials["steps_to_target"].isna().all()


def test_what_is_not_there_is_empty_in_the_csv_and_never_a_number():
    text = csv_bytes(a_comparison([diverged(a_trial(), curve=())]).trials)
    row = pd.read_csv(io.BytesIO(text), dtype=str, keep_default_na=False).iloc[0]
    absent = ["initial_loss", "final_val_loss", "test_loss", "test_accuracy", "generalization_gap", "steps_to_target"]
    assert row[absent].tolist() == [""] * 6


def test_a_curve_without_step_0_has_no_initial_loss():
    curve = a_curve([0.1, 0.5], steps=(1, 2))
    assert a_comparison([finished(a_trial(), curve=curve)]).trials["initial_loss"].isna().all()


def test_numbers_survive_the_csv_exactly():
    comparison = a_comparison(seeds(finished, 3))
    read = csv.DictReader(csv_bytes(comparison.curves).decode().splitlines())
    assert [float(row["val_loss"]) for row in read] == comparison.curves["val_loss"].tolist()


@pytest.mark.parametrize(("accuracy", "learns"), [(0.1, False), (0.15, False), (0.16, True), (0.9, True)])
def test_learned_needs_more_than_luck(accuracy, learns):
    # 300 images, guess 0.1: P(45 or more) = 0.0046 and P(48 or more) = 0.0009 (scipy.stats.binomtest).
    record = finished(a_trial(), val=accuracy)
    assert (record.trial.id in a_comparison([record]).learned) == learns


def test_a_diverged_or_failed_trial_never_learned():
    curve = a_curve([0.1, 0.99])
    records = [diverged(a_trial(seed=0), curve=curve), failed(a_trial(seed=1), curve=curve)]
    assert a_comparison(records).learned == frozenset()


def test_a_summary_of_known_numbers():
    records = [
        *(finished(a_trial(seed=s), test=t) for s, t in enumerate((0.8, 0.9, 1.0))),
        diverged(a_trial(seed=3)),
        failed(a_trial(seed=4)),
    ]
    row = only_row(records)
    assert row[["n", "finished", "learned", "diverged", "failed"]].tolist() == [5, 3, 3, 1, 1]
    assert (row["steps_to_target"], row["reached"]) == (128, 3)
    assert (row["test_accuracy"], row["test_n"]) == (pytest.approx(0.9), 3)
    assert row["test_accuracy_high"] - row["test_accuracy"] == pytest.approx(4.30265 * 0.1 / 3**0.5, rel=1e-5)
    assert row["initial_loss_n"] == 4  # step 0 of the diverged one counts; the failed one left none
    assert row["seconds_train"] == 2.0


def test_half_censored_by_divergence_has_no_median_until_half_arrive():
    arrived = [finished(a_trial(seed=s)) for s in range(2)]
    lost = [diverged(a_trial(seed=s)) for s in range(2, 5)]
    assert pd.isna(only_row(arrived + lost)["steps_to_target"])
    assert only_row(arrived + lost[:2])["steps_to_target"] == 128


def test_failed_trials_neither_arrive_nor_delay():
    arrived = [finished(a_trial(seed=0))]
    broken = [failed(a_trial(seed=s), curve=a_curve([0.9])) for s in range(1, 5)]
    row = only_row(arrived + broken)
    assert (row["steps_to_target"], row["reached"]) == (128, 1)


def test_schemes_stand_in_the_order_asked_for_and_settings_in_that_of_the_trials():
    records = [finished(a_trial(scheme, lr=lr)) for lr in (0.1, 0.01) for scheme in ("b", "a", "c")]
    comparison = a_comparison(records, schemes=("c", "a"))
    assert comparison.summary["scheme"].tolist() == ["c", "a", "b"] * 2
    assert [setting.lr for setting in settings_of(comparison.summary)] == [0.1, 0.01]
    assert [table.setting[-4:] for table in panel_tables(comparison)] == [" 0.1", "0.01"]


def test_cells_of_ten_seeds_show_mean_interval_and_counts():
    records = [finished(a_trial(seed=s), test=0.9001 + s / 1000) for s in range(10)]
    cells = only_cells(records)
    assert cells["learned"] == "10/10"
    assert cells["steps to 80 %"] == "128 [128, 128]"
    assert cells["test accuracy"] == "0.905 ± 0.002"
    assert not {"diverged", "failed"} & set(cells)


def test_the_loss_of_a_uniform_guess_stands_beside_the_loss_at_step_0():
    (table,) = panel_tables(a_comparison([finished(a_trial())]))
    assert f"loss at step 0 (ln 10 = {LN_10:.3f})" in table.numbers[0].headers


@pytest.mark.parametrize(
    ("records", "column", "cell"),
    [
        (seeds(finished, 1), "test accuracy", "0.9000 (n = 1)"),
        (seeds(finished, 3), "test accuracy", "0.9000 ± 0"),
        (seeds(diverged, 3), "test accuracy", "– (0/3)"),
        (seeds(diverged, 3), "steps to 80 %", "never (0/3)"),
        (seeds(diverged, 3), "diverged", "3"),
        (seeds(failed, 2), "steps to 80 %", "– (0/0)"),
        (seeds(failed, 2), "failed", "2"),
        (seeds(finished, 2, val=0.1, test=0.1), "steps to 80 %", "never (0/2)"),
        ([*seeds(finished, 2), diverged(a_trial(seed=2))], "test accuracy", "0.9000 ± 0 (2/3)"),
        (
            [finished(a_trial()), *(diverged(a_trial(seed=s)) for s in (1, 2))],
            "steps to 80 %",
            "> 200 (1/3)",
        ),
        ([finished(a_trial()), diverged(a_trial(seed=1))], "test accuracy", "0.9000 (n = 1, 1/2)"),
    ],
)
def test_cells_at_the_edges_say_what_is_true(records, column, cell):
    assert only_cells(records)[column] == cell


@pytest.mark.parametrize(
    ("cell", "estimate", "total"),
    [
        ("0.910 ± 0.127", Estimate(0.91, 0.127, 2), 2),
        ("0.905 ± 0.012 (7/10)", Estimate(0.905, 0.012, 7), 10),
        ("2.30259 ± 0.00004", Estimate(2.30259, 0.00004, 5), 5),
        ("1.23e+08 ± 2e+06", Estimate(1.23e8, 2e6, 5), 5),
    ],
)
def test_a_mean_is_shown_to_the_digits_that_its_interval_bears(cell, estimate, total):
    assert mean_cell(estimate, total) == cell


def test_an_unfinite_final_loss_leaves_its_mean_and_lowers_its_n():
    final = Final(
        train_loss=None, train_accuracy=0.1, val_loss=float("inf"), val_accuracy=0.1, test_loss=0.3, test_accuracy=0.1
    )
    row = only_row([finished(a_trial(seed=0)), finished(a_trial(seed=1)).model_copy(update={"final": final})])
    assert row[["test_n", "final_val_loss_n", "generalization_gap_n"]].tolist() == [2, 1, 1]
    assert row["final_val_loss"] == 0.3


def test_the_introduction_says_the_extent_the_target_its_rule_and_the_baseline():
    said = introduction(a_comparison([*seeds(finished, 3), *seeds(finished, 3, "torch_default")]))
    assert said == (
        "Does it matter? 6 trials: 2 schemes, 3 seeds. Target: validation accuracy ≥ 0.8 (as given). "
        "Baseline: torch_default."
    )


def test_no_records_is_said_and_what_is_missing_is_named():
    comparison = a_comparison([], missing=80, schemes=("a", "b"))
    page = summary_markdown(document_of(comparison))
    assert "No trial is stored yet." in page
    assert "Not stored: 80 planned trials" in page
    assert "No trial is stored for: a, b." in page
    assert "nan" not in page.lower()
    assert answers(comparison) == ("No trial is stored yet.",)


def test_notes_tell_failures_with_reasons_and_each_notice_once():
    records = [
        *seeds(failed, 2, reason="out of memory"),
        *(finished(a_trial(s, seed=9), notices=("bn.weight was left alone",)) for s in ("x", "y", "z")),
    ]
    told = document_of(a_comparison(records, missing=1)).notes
    assert "Not stored: 1 planned trial (" in told[0]
    assert told[1] == "2 trials of kaiming_uniform failed (seeds 0, 1): out of memory"
    assert told[2] == "bn.weight was left alone [x, y, z]"
    assert any("at lr 0.05 only" in note for note in told)


def test_the_terminal_and_the_page_show_the_same_cells():
    records = [*seeds(finished, 3, "kaiming_uniform; bias=constant(0.1)"), *seeds(diverged, 3, "torch_default")]
    comparison = a_comparison(records)
    page = summary_markdown(document_of(comparison))
    for row in panel_tables(comparison)[0].rows:
        assert f"| {' | '.join(row)} |" in page


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_a_spreadsheet_runs_no_text(text):
    assert spreadsheet(text) == f"'{text}"
    frame = pd.DataFrame({"scheme": [text], "gap": [-0.5]})
    read = pd.read_csv(io.BytesIO(csv_bytes(frame)))
    assert read["scheme"].tolist() == [f"'{text}"]
    assert read["gap"].tolist() == [-0.5]


def test_control_characters_neither_start_a_formula_nor_break_a_row():
    lines = csv_bytes(pd.DataFrame({"scheme": ["\r=1", "\t=1", "a\nb", "\x1b[31m"]})).splitlines()
    assert lines[1:] == [b"\\r=1", b"\\t=1", b"a\\nb", b"\\x1b[31m"]


@given(st.lists(st.tuples(st.text(), st.floats() | st.none()), max_size=8))
def test_a_csv_file_reads_as_what_was_written(rows):
    frame = pd.DataFrame(rows, columns=["scheme", "gap"]).astype({"scheme": "str", "gap": "float64"})
    read = list(csv.reader(io.StringIO(csv_bytes(frame).decode(), newline="")))
    numbers = ["" if gap is None or math.isnan(gap) else repr(gap) for _, gap in rows]
    assert read == [["scheme", "gap"], *map(list, zip([spreadsheet(text) for text, _ in rows], numbers, strict=True))]


def test_markdown_takes_names_as_text():
    assert markdown("kaiming_uniform; bias=constant(0.1)") == "kaiming_uniform; bias=constant(0.1)"
    assert markdown("a|b") == r"a\|b"
    assert markdown("<script>") == r"&lt;script\>"
    assert markdown("p < 0.001, R&D") == "p < 0.001, R&D"
    assert markdown("$x$ *y* _z_ `w` [v]") == r"\$x\$ \*y\* \_z\_ \`w\` \[v\]"
    assert "\n" not in markdown("a\n| b |")


def test_no_escape_reaches_a_terminal():
    assert printable("\x1b[31mred\x1b[0m\n\u202e") == r"\x1b[31mred\x1b[0m\n\u202e"
    assert printable("± 0.1 – ln ≥ ü") == "± 0.1 – ln ≥ ü"


def test_files_of_settings_are_told_apart_by_what_varies():
    models = [("digits", "mlp(depth=8)", "sgd", 0.1), ("digits", "mlp(depth=4)", "sgd", 0.05)]
    assert suffixes(models[:1]) == [""]
    assert suffixes(models) == ["-mlp-depth-8-lr-0.1", "-mlp-depth-4-lr-0.05"]
    assert suffixes([("a/b",), ("a-b",), ("a b",)]) == ["-a-b", "-a-b-2", "-a-b-3"]
    assert slug("../../etc/passwd") == "etc-passwd"


def test_the_frames_are_worked_out_once():
    comparison = a_comparison([finished(a_trial())])
    assert isinstance(comparison, Comparison)
    assert comparison.trials is comparison.trials
    assert np.isclose(comparison.records[0].data.guess, DATA.guess)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("analysis.results", {"torch", "matplotlib", "jinja2"}),
        ("report.tables", {"torch", "matplotlib", "jinja2"}),
        ("report.folder", {"torch", "matplotlib.pyplot"}),
    ],
)
def test_analysis_loads_without_what_it_does_not_need(module, absent):
    code = f"import sys, initbench.{module}; print(*sorted({absent!r} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
