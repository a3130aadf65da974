"""The choice of learning rates against the written rules, by brute force, and with test numbers poisoned."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from initbench.analysis.tuning import (
    COMMON_RULE,
    OWN_RULE,
    USABLE_WITHIN,
    extended_grid,
    tune_rates,
)
from initbench.records.recipe import DEFAULT_GRID
from initbench.report.tuning import describe_tuning
from tests.analysis_data import LN_10, a_curve, a_trial, diverged, failed, finished

GRID = (0.01, 0.03, 0.1)


def tuned(losses, scheme="kaiming_uniform", *, grid=GRID, seeds=(100, 101), val=0.9, **axes):
    """Records of one scheme: a loss for each lr, the same for all seeds; None diverged."""
    records = []
    for lr, loss in zip(grid, losses, strict=True):
        for seed in seeds:
            trial = a_trial(scheme, seed, lr=lr, **axes)
            records.append(diverged(trial) if loss is None else finished(trial, val_loss=loss, val=val))
    return records


def only(records):
    (choice,) = tune_rates(records)
    return choice


def test_each_scheme_gets_the_lr_with_its_lowest_validation_loss_and_all_share_a_common_one():
    choice = only(tuned([0.5, 0.3, 0.4], "a") + tuned([0.6, 0.5, 0.2], "b") + tuned([0.9, 0.2, 0.4], "c"))
    assert choice.own == {"a": 0.03, "b": 0.1, "c": 0.03}
    assert choice.common == 0.03  # ranks: .01 3+3+3, .03 1+2+1, .1 2+1+2
    assert choice.edge == {"b"}
    assert choice.edge_high
    assert not choice.edge_low
    assert choice.grid == GRID
    assert choice.incomplete == frozenset()


def test_a_lower_mean_of_survivors_does_not_win_over_an_lr_at_which_all_finished():
    records = tuned([0.5, 0.6, 0.1])
    last = records[-1].trial
    choice = only([*records[:-1], diverged(last)])
    assert choice.own == {"kaiming_uniform": 0.01}
    assert choice.common == 0.01


def test_a_finished_trial_without_a_finite_loss_counts_as_not_finished():
    records = tuned([0.5, 0.6, 0.1])
    assert only([*records[:-1], finished(records[-1].trial, val_loss=math.inf)]).own["kaiming_uniform"] == 0.01


def test_a_trial_that_is_not_stored_counts_as_not_finished():
    assert only(tuned([0.5, 0.6, 0.1])[:-1]).own["kaiming_uniform"] == 0.01


def test_where_no_lr_finished_whole_the_one_with_most_finished_is_taken_and_said_to_be_a_makeshift():
    records = [diverged(a_trial("a", seed, lr=lr)) for lr in (0.1, 0.3) for seed in (0, 1, 2)]
    records += [finished(a_trial("a", seed, lr=0.01), val_loss=2.0) for seed in (0, 1)]
    records += [diverged(a_trial("a", 2, lr=0.01))]
    records += [finished(a_trial("a", 0, lr=0.03), val_loss=0.1)]
    choice = only(records)
    assert choice.own == {"a": 0.01}
    assert choice.incomplete == {"a"}
    assert choice.usable["a"].decades is None
    assert any("no lr at which every tuning trial finished" in text for text in describe_tuning(choice))


def test_where_everything_diverged_the_smallest_lr_stands_at_the_edge_and_nothing_is_usable():
    choice = only(tuned([None, None, None]))
    assert choice.own == {"kaiming_uniform": 0.01}
    assert choice.edge_low
    assert choice.incomplete == {"kaiming_uniform"}
    assert str(choice.usable["kaiming_uniform"]) == "none"
    assert choice.sensitivity["kaiming_uniform"].mean == 0  # all clipped to the loss at step 0


def test_ties_go_to_the_smaller_lr():
    choice = only(tuned([0.3, 0.3, 0.3]))
    assert choice.own["kaiming_uniform"] == choice.common == 0.01


def test_common_lr_is_one_that_every_scheme_tried():
    wide = tuned([0.9, 0.8, 0.7, 0.1], "a", grid=(*GRID, 0.3))
    assert only(wide + tuned([0.9, 0.5, 0.8], "b")).common in GRID


def test_settings_come_one_by_one_in_order_of_appearance():
    choices = tune_rates(
        tuned([0.3, 0.2, 0.1], dataset="mnist") + tuned([0.1, 0.2, 0.3]) + tuned([1, 2, 3], model="cnn")
    )
    assert [(c.place.dataset, c.place.model, c.own["kaiming_uniform"]) for c in choices] == [
        ("mnist", "mlp(depth=8, width=64)", 0.1),
        ("digits", "mlp(depth=8, width=64)", 0.01),
        ("digits", "cnn", 0.01),
    ]
    assert tune_rates([]) == ()


class Poisoned:
    """A final evaluation whose test numbers must not be read."""

    def __init__(self, final):
        self._final = final

    def __getattr__(self, name):
        assert not name.startswith("test_"), f"tuning read {name}"
        return getattr(self._final, name)


def test_test_numbers_are_neither_read_nor_able_to_change_the_choice():
    records = tuned([0.5, 0.3, 0.4], "a") + tuned([0.6, 0.5, 0.2], "b")
    plain = only(records)
    flipped = [
        record.model_copy(
            update={
                # Test numbers that would choose the very opposite, and one that is not there.
                "final": replace(
                    record.final,
                    test_loss=None if record.trial.lr == 0.1 else -record.final.val_loss,
                    test_accuracy=record.final.val_loss,
                )
            }
        )
        for record in records
    ]
    assert only(flipped) == plain
    poisoned = [record.model_copy(update={"final": Poisoned(record.final)}) for record in records]
    assert only(poisoned) == plain
    assert describe_tuning(only(poisoned))
    with pytest.raises(AssertionError, match="tuning read test_loss"):
        _ = poisoned[0].final.test_loss  # the trap works


loss = st.one_of(st.none(), st.sampled_from([0.1, 0.2, 0.5, 1.0, 2.5]))


@given(st.lists(st.lists(loss, min_size=6, max_size=6), min_size=1, max_size=4))
def test_choices_are_those_of_the_rules_written_out(tables):
    """Rows of losses by (lr, seed) for each scheme; the rules by exhaustive comparison."""
    grid, seeds = GRID, (7, 8)
    records, keys = [], []
    for i, table in enumerate(tables):
        cells = np.array(table, dtype=object).reshape(3, 2)
        for lr, row in zip(grid, cells, strict=True):
            for seed, value in zip(seeds, row, strict=True):
                trial = a_trial(f"s{i}", seed, lr=lr)
                records.append(diverged(trial) if value is None else finished(trial, val_loss=value))
        told = [[v for v in row if v is not None] for row in cells]
        keys.append([(2 - len(row), np.mean(row) if row else math.inf) for row in told])
    choice = only(records)
    ranks = np.zeros(3)
    for i, key in enumerate(keys):
        chosen = key[grid.index(choice.own[f"s{i}"])]
        assert all(chosen <= other for other in key)
        ranks += [1 + sum(o < k for o in key) + (sum(o == k for o in key) - 1) / 2 for k in key]
        assert grid.index(choice.own[f"s{i}"]) == key.index(chosen)
    assert choice.common == grid[int(np.argmin(ranks))]


def test_sensitivity_is_the_clipped_mean_above_the_best_with_a_t_interval():
    per_seed = {100: [0.5, 0.3, None], 101: [0.4, 0.3, 9.0], 102: [0.6, 0.2, 0.7]}
    records = [
        finished(a_trial("a", seed, lr=lr), val_loss=value)
        if value is not None
        else diverged(a_trial("a", seed, lr=lr))
        for seed, row in per_seed.items()
        for lr, value in zip(GRID, row, strict=True)
    ]
    initial = records[0].curve[0].val_loss  # 0.95 ln 10: below 9, so 9 is clipped to it
    rows = [[0.5, 0.3, initial], [0.4, 0.3, initial], [0.6, 0.2, 0.7]]
    expected = [np.mean(row) - min(row) for row in rows]
    found = only(records).sensitivity["a"]
    low, high = stats.ttest_1samp(expected, 0).confidence_interval()
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((np.mean(expected), low, high, 3))


def test_sensitivity_leaves_out_a_seed_that_failed_or_has_no_loss_at_step_0():
    records = tuned([0.5, 0.3, 0.4], seeds=(1, 2, 3))
    broken = [failed(r.trial) if (r.trial.seed, r.trial.lr) == (1, 0.1) else r for r in records]
    broken = [diverged(r.trial, step=0, curve=()) if (r.trial.seed, r.trial.lr) == (2, 0.1) else r for r in broken]
    found = only(broken).sensitivity["kaiming_uniform"]
    assert found.n == 1
    assert found.mean == pytest.approx(0.4 - 0.3)


@pytest.mark.parametrize(
    ("losses", "text"),
    [
        ([2.0, 0.30, 2.0, 2.0, 2.0], "0.0 decades"),
        ([0.3, 2.0, 2.0, 2.0, 2.0], "≥ 0.0 decades"),
        ([2.0, 0.30, 0.31, 0.39, 2.0], "1.0 decades"),
        ([0.3, 0.35, 0.39, 0.2, 0.28], "≥ 0.5 decades"),
        ([0.3, 0.9, 0.31, 0.32, 0.9], "0.5 decades"),  # the widest, not the one of the best
        ([0.3, 0.3, 0.3, 0.3, 0.3], "≥ 2.0 decades"),
        ([0.3, 0.3, None, 0.3, 2.0], "≥ 0.5 decades"),
    ],
)
def test_usable_range_is_the_widest_unbroken_stretch(losses, text):
    assert USABLE_WITHIN == 0.1
    assert str(only(tuned(losses, grid=DEFAULT_GRID)).usable["kaiming_uniform"]) == text


def test_a_scheme_at_chance_everywhere_has_no_usable_lr_however_flat():
    choice = only(tuned([LN_10, LN_10, LN_10], val=0.1))
    usable = choice.usable["kaiming_uniform"]
    assert (usable.decades, str(usable)) == (None, "none")
    warning = "No lr works for kaiming_uniform: low sensitivity is not an advantage there."
    assert warning in describe_tuning(choice)[-1]


def test_cost_counts_the_steps_that_were_taken():
    records = [
        finished(a_trial(seed=0)),
        diverged(a_trial(seed=1), step=8),
        failed(a_trial(seed=2)),
        failed(a_trial(seed=3), curve=a_curve([0.1, 0.1, 0.1])),
    ]
    choice = only(records)
    assert choice.steps_spent == 200 + 8 + 0 + 2
    assert "210 training steps" in describe_tuning(choice)[0]
    assert "4 tuning seeds" in describe_tuning(choice)[0]


@pytest.mark.parametrize(
    ("grid", "low", "high", "expected"),
    [
        (DEFAULT_GRID, False, False, DEFAULT_GRID),
        (DEFAULT_GRID, True, True, (0.000949, *DEFAULT_GRID, 0.949)),
        ((0.01, 0.1), False, True, (0.01, 0.1, 1.0)),
        ((0.01, 0.1), True, False, (0.001, 0.01, 0.1)),
        ((0.1,), True, True, (0.0316, 0.1, 0.316)),
    ],
)
def test_the_grid_grows_by_its_own_ratio(grid, low, high, expected):
    assert extended_grid(grid, low, high) == expected


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=6, unique=True), st.booleans(), st.booleans())
def test_an_extended_grid_is_sorted_and_keeps_its_lrs(lrs, low, high):
    grid = tuple(sorted(lrs))
    longer = extended_grid(grid, low, high)
    assert list(longer) == sorted(set(longer))
    assert set(grid) <= set(longer)
    assert len(longer) == len(grid) + low + high


def test_description_says_rules_edges_cost_and_what_was_added():
    choice = only(tuned([0.5, 0.3, 0.4], "a; bias=zeros") + tuned([0.6, 0.5, 0.2], "b"))
    text = "\n".join(describe_tuning(choice, added=(0.1,)))
    for part in (OWN_RULE, COMMON_RULE, "extended once, by 0.1", "“a; bias=zeros” 0.03, b 0.1", "beyond it: b."):
        assert part in text
    assert "extended" not in "\n".join(describe_tuning(choice))
