"""Tables of the numbers behind the verdicts, and of the aggregates over several settings."""

from collections.abc import Sequence

from initbench.analysis.across import Across
from initbench.analysis.judgements import Judgement
from initbench.analysis.statistics.aggregate import LEAST_SEEDS, simulated_coverage
from initbench.analysis.statistics.paired import Paired
from initbench.analysis.statistics.survival import Survival
from initbench.analysis.verdicts import confidence, p_value
from initbench.core.text import printable
from initbench.report.cells import NOTHING, Table, estimate_cell, measure_cell, p_cell

_ACCURACY_HEADERS = (
    "scheme",
    "pairs",
    "difference (points)",
    "level",
    "p",
    "p (Holm)",
    "better in a pair",
    "correlation",
)
_STEPS_HEADERS = (
    "scheme",
    "pairs",
    "difference (steps)",
    "level",
    "times as fast",
    "p",
    "p (Holm)",
    "log-rank p",
    "first p",
)
_MANY_SEEDS = 20  # from here on the bootstrap over several settings has its nominal coverage


def numbers_behind(judged: Sequence[Judgement], survivals: dict[str, Survival], baseline: str) -> tuple[Table, ...]:
    """Return the numbers behind a panel's verdicts: accuracies in pairs, steps in pairs, then steps by scheme."""
    return (*_pairs_tables(judged, baseline), _survival_table(survivals, baseline)) if survivals else ()


def difference_cell(judgement: Judgement | None) -> str:
    """Return `+85.3 [83.8, 86.5], p = 0.014`: the difference in points, its interval and the adjusted p of its test."""
    guesses = {"does not learn", "too few learn"}  # where nothing was tested: a difference of guesses says nothing
    if judgement is None or (judgement.accuracy.kind in guesses and judgement.accuracy.p is None):
        return NOTHING
    pairs, tests = judgement.accuracy_comparison.pairs, judgement.accuracy_comparison.tests
    p = p_value(tests.values_p)
    sign = "+" * ((pairs.difference.value or 0) > 0)
    return sign + measure_cell(pairs.difference, 1, scale=100) + (f", {p}" if p else "")


def across_table(across: Across) -> Table:
    """Return the aggregates of each scheme over several settings."""
    return Table(
        caption="Test accuracy; " + "; ".join(printable(str(panel)) for panel in across.panels),
        headers=("scheme", "seeds × settings", "interquartile mean", "probability of a better trial than the baseline"),
        rows=tuple(_across_row(across, scheme) for scheme in across.scores),
    )


def across_remark(across: Across) -> str:
    """Return a sentence on the coverage of the intervals across settings, "" where seeds are many."""
    if across.seeds >= _MANY_SEEDS:
        return ""
    coverage = simulated_coverage(across.seeds)
    if coverage is None:
        return f"Across settings, no interval below {LEAST_SEEDS} seeds."
    return f"Across settings, {across.seeds} seeds: expect a 95 % bootstrap interval to cover about {coverage}."


def _pairs_tables(judged: Sequence[Judgement], baseline: str) -> tuple[Table, ...]:
    compared = [judgement for judgement in judged if not judgement.absent]
    if not compared:
        return ()
    against = printable(baseline)
    accuracy = Table(
        caption=f"Accuracy against {against}",
        headers=_ACCURACY_HEADERS,
        rows=tuple(_accuracy_row(judgement) for judgement in compared),
    )
    steps = Table(
        caption=f"Steps against {against}",
        headers=_STEPS_HEADERS,
        rows=tuple(_steps_row(judgement) for judgement in compared),
    )
    return accuracy, steps


def _accuracy_row(judgement: Judgement) -> tuple[str, ...]:
    pairs = judgement.accuracy_comparison.pairs
    return (
        printable(judgement.scheme),
        _count(pairs),
        measure_cell(pairs.difference, 1, scale=100),
        confidence(pairs.alpha),
        p_cell(pairs.p),
        p_cell(judgement.tests("test_accuracy").values_p),
        measure_cell(pairs.improvement, 2),
        measure_cell(pairs.correlation, 2),
    )


def _steps_row(judgement: Judgement) -> tuple[str, ...]:
    speed = judgement.speed_comparison
    return (
        printable(judgement.scheme),
        _count(speed.restricted),
        measure_cell(speed.restricted.difference, 0),
        confidence(speed.restricted.alpha),
        measure_cell(speed.factor, 2),
        p_cell(speed.restricted.p),
        p_cell(judgement.tests("steps_to_target").values_p),
        p_cell(speed.logrank_p),
        p_cell(speed.first_p),
    )


def _survival_table(survivals: dict[str, Survival], baseline: str) -> Table:
    budget = max(survival.budget for survival in survivals.values())
    return Table(
        caption=f"Steps to the target within {budget:g} steps",
        headers=("scheme", "trials", "share reached", "median", "restricted mean", "expected running time"),
        rows=tuple(
            (
                printable(scheme) + (" (baseline)" if scheme == baseline else ""),
                str(survival.reached.n),
                measure_cell(survival.reached.share, 2),
                measure_cell(survival.median, 0),
                estimate_cell(survival.restricted_mean, 0),
                measure_cell(survival.expected_running_time, 0),
            )
            for scheme, survival in survivals.items()
        ),
    )


def _across_row(across: Across, scheme: str) -> tuple[str, ...]:
    n, k = across.scores[scheme].shape
    chance = across.improvement.get(scheme)
    return (
        printable(scheme) + (" (baseline)" if scheme == across.baseline else ""),
        f"{n} × {k}",
        measure_cell(across.middle[scheme], 3),
        NOTHING if chance is None else measure_cell(chance, 2),
    )


def _count(pairs: Paired) -> str:
    return f"{pairs.n}/{pairs.n + pairs.dropped}" if pairs.dropped else str(pairs.n)
