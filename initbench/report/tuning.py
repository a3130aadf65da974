"""How learning rates were tuned, in sentences."""

from collections.abc import Sequence

from initbench.analysis.statistics.intervals import Estimate
from initbench.analysis.tuning import COMMON_RULE, OWN_RULE, SENSITIVITY_RULE, USABLE_RULE, TunedRates
from initbench.core.words import counted, joined, quoted


def describe_tuning(rates: TunedRates, added: Sequence[float] = ()) -> list[str]:
    """Return sentences on the cost, the rates and how sensitive each scheme is; `added` lrs extended the grid once."""
    return [
        _described_cost(rates, added),
        _described_own(rates),
        f"Common lr: {rates.common:g}. {COMMON_RULE}",
        *_described_edge(rates),
        *_described_incomplete(rates),
        *_described_width(rates),
    ]


def _described_cost(rates: TunedRates, added: Sequence[float]) -> str:
    grid = ", ".join(f"{lr:g}" for lr in rates.grid)
    extended = f" (grid extended once, by {joined(f'{lr:g}' for lr in sorted(added))})" if added else ""
    return (
        f"Learning rates tried with each scheme: {grid}{extended}; {counted(len(rates.seeds), 'tuning seed')}, "
        f"{rates.steps_spent:,} training steps in total, on top of those of the scored trials."
    )


def _described_own(rates: TunedRates) -> str:
    own = ", ".join(f"{quoted(scheme)} {lr:g}" for scheme, lr in rates.own.items())
    return f"Own lr of each scheme: {own}. {OWN_RULE}"


def _described_edge(rates: TunedRates) -> list[str]:
    at_edge = [quoted(scheme) for scheme in rates.own if scheme in rates.edge]
    return [f"At an end of the grid, so a better lr may lie beyond it: {joined(at_edge)}."] if at_edge else []


def _described_incomplete(rates: TunedRates) -> list[str]:
    return [
        f"{quoted(scheme)}: there is no lr at which every tuning trial finished; {lr:g} has the most finished trials."
        for scheme, lr in rates.own.items()
        if scheme in rates.incomplete
    ]


def _described_width(rates: TunedRates) -> list[str]:
    widths = ", ".join(f"{quoted(scheme)} {usable}" for scheme, usable in rates.usable.items())
    values = ", ".join(f"{quoted(scheme)} {_estimate(mean)}" for scheme, mean in rates.sensitivity.items())
    never = [quoted(scheme) for scheme, usable in rates.usable.items() if usable.decades is None]
    # A loss that is flat because nothing is learned anywhere does not show robustness.
    warning = f" No lr works for {joined(never)}: low sensitivity is not an advantage there." if never else ""
    return [
        f"{USABLE_RULE} {counted(len(rates.seeds), 'tuning seed')}: {widths}.",
        f"{SENSITIVITY_RULE} With 95 % t interval: {values}.{warning}",
    ]


def _estimate(estimate: Estimate) -> str:
    if estimate.mean is None:
        return "– (n = 0)"
    half = "" if estimate.half is None else f" ± {estimate.half:.3f}"
    return f"{estimate.mean:.3f}{half} (n = {estimate.n})"
