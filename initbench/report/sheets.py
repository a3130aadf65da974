"""The numbers behind the verdicts as tables of text, for the report and for summary.md."""

from collections.abc import Sequence
from dataclasses import dataclass

from initbench.analysis.across import Across
from initbench.analysis.judgements import Judgement
from initbench.analysis.statistics.aggregate import coverage_remark
from initbench.analysis.statistics.intervals import Estimate
from initbench.analysis.statistics.paired import Measure, Paired
from initbench.analysis.statistics.survival import Survival
from initbench.core.text import printable
from initbench.report.verdict_lines import p_said

NOTHING = "–"
_BESIDE = ("log-rank p", "first p")
_MANY_SEEDS = 20  # from here on the bootstrap of several settings holds what it says


@dataclass(frozen=True)
class Sheet:
    """A table ready to be shown: every cell is plain text without control characters."""

    caption: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def evidence_sheets(judged: Sequence[Judgement], survivals: dict[str, Survival], baseline: str) -> tuple[Sheet, ...]:
    """Return what the verdicts of a panel rest on: accuracies in pairs, then steps in pairs, then steps by scheme."""
    return (*_pairs_sheets(judged, baseline), _survival_sheet(survivals, baseline)) if survivals else ()


def across_sheet(of: Across) -> Sheet:
    """Return the aggregates of each scheme over several settings."""
    return Sheet(
        caption="Test accuracy; " + "; ".join(printable(str(panel)) for panel in of.panels),
        headers=("scheme", "seeds × settings", "interquartile mean", "chance of a better trial than the baseline's"),
        rows=tuple(_across_row(of, scheme) for scheme in of.scores),
    )


def across_remark(of: Across) -> str:
    """Return what the intervals across settings really hold, where seeds are few; else nothing."""
    return f"Across settings, {coverage_remark(of.seeds)}." if of.seeds < _MANY_SEEDS else ""


def ends(low: float, high: float | None, decimals: int) -> str:
    """Return the ends of an interval as `[1.2, 3.4]`; `[1.2, ∞)` where nothing bounds it."""
    left = _number(low, decimals)
    return f"[{left}, ∞)" if high is None else f"[{left}, {_number(high, decimals)}]"


def measure_cell(of: Measure, decimals: int) -> str:
    """Return a figure with its interval and, without one, its n."""
    if of.value is None:
        return NOTHING
    if of.interval is None:
        return f"{_number(of.value, decimals)} (n = {of.n})"
    return f"{_number(of.value, decimals)} {ends(of.interval.low, of.interval.high, decimals)}"


def _pairs_sheets(judged: Sequence[Judgement], baseline: str) -> tuple[Sheet, ...]:
    told = [of for of in judged if not of.absent]
    if not told:
        return ()
    against = printable(baseline)
    accuracy = Sheet(
        caption=f"Accuracy against {against}",
        headers=("scheme", "pairs", "points more", "bootstrap-t", "p", "p (Holm)", "better in a pair", "correlation"),
        rows=tuple(_accuracy_row(of) for of in told),
    )
    steps = Sheet(
        caption=f"Steps against {against}",
        headers=("scheme", "pairs", "steps more", "bootstrap-t", "times as fast", "p", "p (Holm)", *_BESIDE),
        rows=tuple(_steps_row(of) for of in told),
    )
    return accuracy, steps


def _accuracy_row(of: Judgement) -> tuple[str, ...]:
    pairs = of.accuracy_evidence.pairs
    return (
        printable(of.scheme),
        _count(pairs),
        _estimate(pairs.difference, 100, 1),
        _bootstrap(pairs, 100, 1),
        _p(pairs.p),
        _p(of.accuracy.p),
        measure_cell(pairs.improvement, 2),
        measure_cell(pairs.correlation, 2),
    )


def _steps_row(of: Judgement) -> tuple[str, ...]:
    speed = of.speed_evidence
    return (
        printable(of.scheme),
        _count(speed.restricted),
        _estimate(speed.restricted.difference, 1, 0),
        _bootstrap(speed.restricted, 1, 0),
        measure_cell(speed.factor, 2),
        _p(speed.restricted.p),
        _p(of.speed.p),
        _p(speed.logrank_p),
        _p(speed.first_p),
    )


def _survival_sheet(survivals: dict[str, Survival], baseline: str) -> Sheet:
    budget = max(of.budget for of in survivals.values())
    return Sheet(
        caption=f"Steps to the target within {budget:g} steps",
        headers=("scheme", "trials", "share reached", "median", "restricted mean", "expected running time"),
        rows=tuple(
            (
                printable(scheme) + (" (baseline)" if scheme == baseline else ""),
                str(of.reached.n),
                measure_cell(of.reached.share, 2),
                measure_cell(of.median, 0),
                _estimate(of.restricted_mean, 1, 0),
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


def _estimate(of: Estimate, scale: int, decimals: int) -> str:
    if of.mean is None:
        return NOTHING
    if of.low is None:
        return f"{_number(scale * of.mean, decimals)} (n = {of.n})"
    high = None if of.high is None else scale * of.high
    return f"{_number(scale * of.mean, decimals)} {ends(scale * of.low, high, decimals)}"


def _bootstrap(pairs: Paired, scale: int, decimals: int) -> str:
    if pairs.bootstrap is None or pairs.bootstrap.high is None:
        return NOTHING
    return ends(scale * pairs.bootstrap.low, scale * pairs.bootstrap.high, decimals)


def _p(p: float | None) -> str:
    return p_said(p).removeprefix("p ").removeprefix("= ") or NOTHING


def _number(value: float, decimals: int) -> str:
    """Return a number with so many decimals, more where it would be shown as 0, and a minus sign that is one."""
    if value == float("-inf"):
        return "−∞"
    small = 1e-9 < abs(value) < 0.5 * 10.0**-decimals
    text = f"{value:.1g}" if small else f"{value:.{decimals}f}"
    return text.replace("-", "−") if float(text) else text.removeprefix("-")
