"""Variance components against written-out sums, other estimators, and simulated tables with known components."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from initbench.analysis.crossing import decompose
from initbench.analysis.statistics.variance import components
from initbench.report.sections import describe_crossing as describe
from tests.analysis_data import a_trial, diverged, failed, finished


def table(rng, init, order, rest, shape, mean=0.9):
    i, j = shape
    return (
        mean
        + rng.normal(scale=init, size=(i, 1))
        + rng.normal(scale=order, size=(1, j))
        + rng.normal(scale=rest, size=shape)
    )


def crossed(values, scheme="kaiming_uniform", lost=(), **axes):
    """Records of a table; on the diagonal one seed governs both, as the planner lays it out."""
    records = []
    for (i, j), accuracy in np.ndenumerate(np.asarray(values)):
        trial = a_trial(scheme, seed=i, order_seed=None if i == j else j, **axes)
        records.append(diverged(trial) if (i, j) in lost else finished(trial, test=float(accuracy)))
    return records


def test_components_of_a_small_table_worked_by_hand():
    # Rows means 1, 3; column means 1, 2, 3; rest zero but for +-1/2.
    values = np.array([[0.5, 1.0, 1.5], [1.5, 3.0, 4.5]])
    # SS rows = 3 * 2 * 1 = 6 (df 1); SS columns = 2 * (1 + 0 + 1) = 4 (df 2); SS rest = 4 * .25 = 1 (df 2).
    found = components(values)
    assert found.mean == 2
    assert found.rest.variance == pytest.approx(0.5)
    assert found.init.variance == pytest.approx((6 - 0.5) / 3)
    assert found.order.variance == pytest.approx((2 - 0.5) / 2)
    total = 0.5 + 5.5 / 3 + 0.75
    shares = [part.share for part in (found.init, found.order, found.rest)]
    assert shares == pytest.approx([5.5 / 3 / total, 0.75 / total, 0.5 / total])
    assert found.init.p == pytest.approx(stats.f.sf(6 / 0.5, 1, 2))
    assert (found.init.levels, found.order.levels, found.rest.levels) == (2, 3, 6)
    assert found.init.deviation == pytest.approx(np.sqrt(5.5 / 3))


shapes = st.tuples(st.integers(2, 6), st.integers(2, 6))


@given(shapes, st.integers(0, 2**32))
def test_components_are_those_of_all_pairs_of_cells(shape, seed):
    """Half mean squared differences: of cells in one column, in one row, and of 2 × 2 contrasts; no sums of squares."""
    rng = np.random.default_rng(seed)
    values = table(rng, 1.0, 0.5, 0.7, shape)
    n_i, n_j = shape
    rest = np.mean([
        (values[a, c] - values[a, d] - values[b, c] + values[b, d]) ** 2 / 4
        for a in range(n_i) for b in range(a) for c in range(n_j) for d in range(c)
    ])  # fmt: skip
    same_column = np.mean([(values[a] - values[b]) ** 2 / 2 for a in range(n_i) for b in range(a)])
    same_row = np.mean([(values[:, c] - values[:, d]) ** 2 / 2 for c in range(n_j) for d in range(c)])
    found = components(values)
    raw = same_column - rest, same_row - rest
    assert found.rest.variance == pytest.approx(rest)
    assert [found.init.variance, found.order.variance] == pytest.approx([max(0, v) for v in raw], abs=1e-12)
    assert [found.init.negative, found.order.negative] == [v < 0 for v in raw]
    assert found.init.share + found.order.share + found.rest.share == pytest.approx(1)
    swapped = components(values.T)
    assert swapped.init.variance == pytest.approx(found.order.variance)
    assert swapped.init.p == pytest.approx(found.order.p)
    ends = [(c.interval.low, c.interval.high) for c in (swapped.init, swapped.order)]
    expected = [(c.interval.low, c.interval.high) for c in (found.order, found.init)]
    assert np.allclose(ends, expected)
    for part in (found.init, found.order, found.rest):
        assert part.interval.low <= part.variance <= part.interval.high or part.negative
    scaled = components(7 + 10 * values)
    assert scaled.init.variance == pytest.approx(100 * found.init.variance, abs=1e-9)


def test_known_components_are_recovered_within_sampling_error():
    rng, true = np.random.default_rng(0), np.array([0.04, 0.02, 0.03])
    estimates = []
    for _ in range(400):
        found = components(table(rng, *true, (10, 8)))
        estimates.append([found.init.variance, found.order.variance, found.rest.variance])
    error = np.std(estimates, axis=0) / np.sqrt(400)
    # Negative ones set to 0 would bias small components up; at this size hardly any is.
    assert (np.abs(np.mean(estimates, axis=0) - true**2) < 4 * error).all()


@pytest.mark.parametrize("true", [(1.0, 1.0, 1.0), (2.0, 0.3, 1.0), (0.2, 0.0, 1.0)])
def test_intervals_cover_the_true_variances_at_least_95_times_in_100(true):
    rng, rounds = np.random.default_rng(1), 1000
    hits = np.zeros(3)
    for _ in range(rounds):
        found = components(table(rng, *true, (5, 4)))
        parts = (found.init, found.order, found.rest)
        hits += [p.interval.low <= s**2 <= p.interval.high for p, s in zip(parts, true, strict=True)]
    least = stats.binom.ppf(0.001, rounds, 0.95) / rounds
    assert (hits / rounds >= least).all()
    assert hits[2] / rounds <= stats.binom.ppf(0.999, rounds, 0.95) / rounds  # chi-square is exact


def test_the_f_test_of_no_effect_has_uniform_p():
    rng = np.random.default_rng(2)
    p = [components(table(rng, 0.0, 1.0, 1.0, (4, 4))).init.p for _ in range(500)]
    assert stats.kstest(p, "uniform").pvalue > 0.001


def test_a_table_without_spread_or_without_rest_has_no_made_up_numbers():
    still = components(np.full((3, 3), 0.9))
    assert [(c.variance, c.share, c.interval, c.p) for c in (still.init, still.order, still.rest)] == [
        (0.0, None, None, None)
    ] * 3
    # Rows only: 0.1, 0.3, 0.7 leave rounding in the rest, which must not become a tiny p.
    rows = components(np.repeat([[0.1], [0.3], [0.7]], 4, axis=1) + 0.2)
    assert (rows.order.variance, rows.rest.variance, rows.rest.interval, rows.init.p) == (0, 0, None, None)
    assert rows.init.share == 1
    assert rows.init.variance == pytest.approx(np.var([0.1, 0.3, 0.7], ddof=1))


def test_records_become_tables_by_scheme_with_init_in_rows():
    rng = np.random.default_rng(3)
    one, two = table(rng, 0.05, 0.0, 0.001, (4, 4)), table(rng, 0.0, 0.05, 0.001, (4, 4))
    found = decompose(crossed(one, "a") + crossed(two, "b"))
    assert [(d.scheme, d.n_init, d.n_order, d.finished, d.cells, d.reason) for d in found] == [
        ("a", 4, 4, 16, 16, ""),
        ("b", 4, 4, 16, 16, ""),
    ]
    assert found[0].components == components(one)
    assert found[0].components.init.share > 0.9
    assert found[1].components.order.share > 0.9


def test_cells_that_did_not_finish_or_are_not_stored_leave_no_estimate():
    values = np.full((3, 3), 0.9)
    (lost,) = decompose(crossed(values, lost={(0, 1), (2, 2)}))
    assert (lost.components, lost.finished) == (None, 7)
    assert lost.reason == "not estimated: 2 of 9 cells did not finish"
    (absent,) = decompose(crossed(values)[:-1])
    assert absent.reason == "not estimated: 1 of 9 cells did not finish"
    records = crossed(values)
    (broken,) = decompose([*records[:-1], failed(records[-1].trial)])
    assert broken.components is None
    assert "1 of 9 cells did not finish" in describe([broken])[0]


def test_a_single_order_seed_is_not_enough():
    (found,) = decompose([finished(a_trial(seed=i, order_seed=7)) for i in range(3)])
    assert found.reason == "not estimated: 3 × 1 seeds, at least 2 × 2 are needed"


def test_trials_that_were_not_crossed_have_no_decomposition():
    assert decompose([finished(a_trial(seed=i)) for i in range(3)]) == ()


def test_sentences_say_size_shares_and_negative_estimates():
    values = np.array([[0.90, 0.80], [0.80, 0.90]])
    (text,) = describe(decompose(crossed(values)))
    assert "2 × 2 seeds" in text
    assert text.count("negative estimate set to 0") == 2
    assert "residual 10.00" in text
    (still,) = describe(decompose(crossed(np.full((2, 2), 0.9))))
    assert still.count("no interval") == 3
