"""The numbers behind the verdicts as tables of text, for the report and for summary.md."""

from collections.abc import Sequence

from initbench.analysis.across import Across
from initbench.analysis.judgements import Judgement
from initbench.analysis.statistics.aggregate import LEAST_SEEDS, simulated_coverage
from initbench.analysis.statistics.paired import Paired
from initbench.analysis.statistics.survival import Survival
from initbench.core.text import printable
from initbench.report.cells import NOTHING, Table, estimate_cell, interval, measure_cell, p_cell

_BESIDE = ("log-rank p", "first p")
_MANY_SEEDS = 20  # from here on the bootstrap of several settings holds what it says


def evidence_tables(judged: Sequence[Judgement], survivals: dict[str, Survival], baseline: str) -> tuple[Table, ...]:
    """Return what the verdicts of a panel rest on: accuracies in pairs, then steps in pairs, then steps by scheme."""
    return (*_pairs_tables(judged, baseline), _survival_table(survivals, baseline)) if survivals else ()


def across_table(of: Across) -> Table:
    """Return the aggregates of each scheme over several settings."""
    return Table(
        caption="Test accuracy; " + "; ".join(printable(str(panel)) for panel in of.panels),
        headers=("scheme", "seeds × settings", "interquartile mean", "chance of a better trial than the baseline's"),
        rows=tuple(_across_row(of, scheme) for scheme in of.scores),
    )


def across_remark(of: Across) -> str:
    """Return a sentence on the coverage of the intervals across settings, "" where seeds are many."""
    if of.seeds >= _MANY_SEEDS:
        return ""
    coverage = simulated_coverage(of.seeds)
    if coverage is None:
        return f"Across settings, no interval below {LEAST_SEEDS} seeds."
    return f"Across settings, {of.seeds} seeds: expect a 95 % bootstrap interval to cover about {coverage}."


def _pairs_tables(judged: Sequence[Judgement], baseline: str) -> tuple[Table, ...]:
    told = [of for of in judged if not of.absent]
    if not told:
        return ()
    against = printable(baseline)
    accuracy = Table(
        caption=f"Accuracy against {against}",
        headers=("scheme", "pairs", "points more", "bootstrap-t", "p", "p (Holm)", "better in a pair", "correlation"),
        rows=tuple(_accuracy_row(of) for of in told),
    )
    steps = Table(
        caption=f"Steps against {against}",
        headers=("scheme", "pairs", "steps more", "bootstrap-t", "times as fast", "p", "p (Holm)", *_BESIDE),
        rows=tuple(_steps_row(of) for of in told),
    )
    return accuracy, steps


def _accuracy_row(of: Judgement) -> tuple[str, ...]:
    pairs = of.accuracy_comparison.pairs
    return (
        printable(of.scheme),
        _count(pairs),
        estimate_cell(pairs.difference, 1, scale=100),
        _bootstrap(pairs, 100, 1),
        p_cell(pairs.p),
        p_cell(of.accuracy.p),
        measure_cell(pairs.improvement, 2),
        measure_cell(pairs.correlation, 2),
    )


def _steps_row(of: Judgement) -> tuple[str, ...]:
    speed = of.speed_comparison
    return (
        printable(of.scheme),
        _count(speed.restricted),
        estimate_cell(speed.restricted.difference, 0),
        _bootstrap(speed.restricted, 1, 0),
        measure_cell(speed.factor, 2),
        p_cell(speed.restricted.p),
        p_cell(of.speed.p),
        p_cell(speed.logrank_p),
        p_cell(speed.first_p),
    )


def _survival_table(survivals: dict[str, Survival], baseline: str) -> Table:
    budget = max(of.budget for of in survivals.values())
    return Table(
        caption=f"Steps to the target within {budget:g} steps",
        headers=("scheme", "trials", "share reached", "median", "restricted mean", "expected running time"),
        rows=tuple(
            (
                printable(scheme) + (" (baseline)" if scheme == baseline else ""),
                str(of.reached.n),
                measure_cell(of.reached.share, 2),
                measure_cell(of.median, 0),
                estimate_cell(of.restricted_mean, 0),
                measure_cell(of.expected_running_time, 0),
            )
            for scheme, of in survivals.items()
        ),
    )


def _across_row(of: Across, scheme: str) -> tuple[str, ...]:
    n, k = of.scores[scheme].shape
    chance = of.improvement.get(scheme)
    return (
        printable(scheme) + (" (baseline)" if scheme == of.baseline else ""),
        f"{n} × {k}",
        measure_cell(of.middle[scheme], 3),
        NOTHING if chance is None else measure_cell(chance, 2),
    )


def _count(pairs: Paired) -> str:
    return f"{pairs.n}/{pairs.n + pairs.dropped}" if pairs.dropped else str(pairs.n)


def _bootstrap(pairs: Paired, scale: int, decimals: int) -> str:
    if pairs.bootstrap is None or pairs.bootstrap.high is None:
        return NOTHING
    return interval(scale * pairs.bootstrap.low, scale * pairs.bootstrap.high, decimals)
