"""Learning rates chosen fairly: the same grid for every scheme, tuning seeds only, validation numbers only.

Test numbers are not read here. Choosing on them, as DeepOBS does, would leak what the scoring seeds are to measure.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy  # its parts load when they are first used: scipy.stats takes half a second

from initbench.analysis.frames import learned_trials
from initbench.analysis.statistics.intervals import Estimate, mean_interval
from initbench.records.record import Record

# Half a decade, the step from a grid of one lr, which has no ratio of its own.
LONE_RATIO = math.sqrt(10)
# In nats: the geometric mean probability of the right answer is then at most 10 % below the best (e^-0.1 = .905). A
# share of the loss would tighten without end for schemes whose best loss nears 0.
USABLE_WITHIN = 0.1

OWN_RULE = (
    "A scheme's own lr has the lowest mean final validation loss over the tuning seeds among the lrs at which every "
    "tuning trial finished; where there is none, the lr with the most finished trials. Ties go to the smaller loss, "
    "then to the smaller lr."
)
COMMON_RULE = (
    "The common lr has the best mean rank over schemes, each scheme ranking the lrs that all of them tried by mean "
    "final validation loss over the tuning seeds, those with a trial that did not finish last (fewest finished at the "
    "very end); ties go to the smaller lr."
)
SENSITIVITY_RULE = (
    "Sensitivity to lr (Wortsman et al. 2023): mean over the grid of min(final validation loss, loss at step 0), minus "
    "its best, in nats, per seed; a diverged trial counts as the loss at step 0, by that definition."
)
USABLE_RULE = (
    f"Usable lrs: the widest unbroken stretch of the grid whose mean final validation loss is within {USABLE_WITHIN:g} "
    "nats of the best, where all tuning trials finished and at least half learned, in decades."
)


@dataclass(frozen=True)
class Usable:
    """The stretch of lrs from `low` to `high` that serve nearly as well as the best, over `n` tuning seeds.

    All None where no lr of the grid lets the scheme learn. `at_edge`: the stretch reaches an end of the grid, so the
    true one may be wider.
    """

    low: float | None
    high: float | None
    at_edge: bool
    n: int

    @property
    def decades(self) -> float | None:
        """The width: 0 for one lr, 1 for a factor of ten."""
        return None if self.low is None or self.high is None else math.log10(self.high / self.low)

    def __str__(self) -> str:
        if self.decades is None:
            return "none"
        return f"{'≥ ' if self.at_edge else ''}{self.decades:.1f} decades"


@dataclass(frozen=True)
class Choice:
    """The lrs that the tuning trials of one (dataset, model, optimizer) speak for; maps are by scheme.

    `own` follows OWN_RULE, `common` COMMON_RULE. `edge`: schemes whose own lr is an end of `grid`, by which end
    `edge_low` and `edge_high`. `incomplete`: schemes without an lr at which every tuning trial finished, whose own lr
    is a makeshift. `sensitivity` is in nats (SENSITIVITY_RULE), its n the seeds known at every lr of the grid.
    `steps_spent` counts the training steps of all tuning trials, of diverged ones up to their end.
    """

    dataset: str
    model: str
    optimizer: str
    grid: tuple[float, ...]
    own: Mapping[str, float]
    common: float
    edge: frozenset[str]
    incomplete: frozenset[str]
    sensitivity: Mapping[str, Estimate]
    usable: Mapping[str, Usable]
    seeds: tuple[int, ...]
    steps_spent: int

    @property
    def edge_low(self) -> bool:
        """Whether some scheme's own lr is the least of the grid."""
        return self.grid[0] in self.own.values()

    @property
    def edge_high(self) -> bool:
        """Whether some scheme's own lr is the greatest of the grid."""
        return self.grid[-1] in self.own.values()


@dataclass
class _Cell:
    """The tuning trials of one scheme at one lr, by seed."""

    records: dict[int, Record] = field(default_factory=dict)

    def losses(self) -> list[float]:
        """Return the final validation losses there are; a finished trial whose loss is not finite has none."""
        finals = [record.final for record in self.records.values()]
        return [final.val_loss for final in finals if final is not None and final.val_loss is not None]

    def rank_key(self, seeds: int) -> tuple[int, float]:
        """Return what orders lrs: trials of `seeds` that did not finish, then the mean loss of those that did."""
        losses = self.losses()
        return seeds - len(losses), float(np.mean(losses)) if losses else math.inf


_Cells = dict[float, _Cell]


def choose(records: Sequence[Record]) -> tuple[Choice, ...]:
    """Return the lrs that tuning records speak for, one choice per (dataset, model, optimizer) in order of appearance.

    `records` are of tuning seeds only, which no scoring trial may have. A trial not stored counts as not finished.
    """
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.trial.dataset, record.trial.model, record.trial.optimizer), []).append(record)
    return tuple(_choose(*key, group) for key, group in groups.items())


def extended_grid(grid: tuple[float, ...], edge_low: bool, edge_high: bool) -> tuple[float, ...]:
    """Return a sorted grid with one lr beyond each end that a scheme's own lr sits on, to 3 significant digits.

    The step is the geometric mean of the grid's ratios; a grid of one lr steps by half a decade.
    """
    low, high = grid[0], grid[-1]
    ratio = (high / low) ** (1 / (len(grid) - 1)) if len(grid) > 1 else LONE_RATIO
    below = [_rounded(low / ratio, low)] if edge_low else []
    above = [_rounded(high * ratio, high)] if edge_high else []
    return (*below, *grid, *above)


def describe(choice: Choice, added: Sequence[float] = ()) -> list[str]:
    """Return what a reader must know of a choice; `added` are the lrs by which the grid was extended once."""
    return [
        _described_cost(choice, added),
        _described_own(choice),
        f"Common lr: {choice.common:g}. {COMMON_RULE}",
        *_described_edge(choice),
        *_described_incomplete(choice),
        *_described_width(choice),
    ]


def _choose(dataset: str, model: str, optimizer: str, records: Sequence[Record]) -> Choice:
    cells = _by_scheme(records)
    grid = tuple(sorted({record.trial.lr for record in records}))
    seeds = tuple(sorted({record.trial.seed for record in records}))
    keys = {
        scheme: {lr: cell.rank_key(len(seeds)) for lr, cell in sorted(of_scheme.items())}
        for scheme, of_scheme in cells.items()
    }
    own = {scheme: min(of_scheme, key=lambda lr: (of_scheme[lr], lr)) for scheme, of_scheme in keys.items()}
    learned = learned_trials(records)
    return Choice(
        dataset=dataset,
        model=model,
        optimizer=optimizer,
        grid=grid,
        own=own,
        common=_common(keys, grid),
        edge=frozenset(scheme for scheme, lr in own.items() if lr in (grid[0], grid[-1])),
        incomplete=frozenset(scheme for scheme, lr in own.items() if keys[scheme][lr][0] > 0),
        sensitivity={scheme: _sensitivity(of_scheme, grid, seeds) for scheme, of_scheme in cells.items()},
        usable={scheme: _usable(of_scheme, grid, len(seeds), learned) for scheme, of_scheme in cells.items()},
        seeds=seeds,
        steps_spent=sum(map(_spent, records)),
    )


def _by_scheme(records: Iterable[Record]) -> dict[str, _Cells]:
    cells: dict[str, _Cells] = {}
    for record in records:
        trial = record.trial
        cells.setdefault(trial.scheme, {}).setdefault(trial.lr, _Cell()).records[trial.seed] = record
    return cells


def _common(keys: Mapping[str, Mapping[float, tuple[int, float]]], grid: Sequence[float]) -> float:
    """Return the lr of the best mean rank over schemes; equal keys share their mean rank."""
    # An lr that some scheme never saw cannot be common, unless the run broke off before any was tried by all.
    tried = [lr for lr in grid if all(lr in of_scheme for of_scheme in keys.values())] or list(grid)
    total = np.zeros(len(tried))
    for of_scheme in keys.values():
        ordered = [of_scheme.get(lr, (math.inf, math.inf)) for lr in tried]
        places = {key: place for place, key in enumerate(sorted(set(ordered)))}
        total += scipy.stats.rankdata([places[key] for key in ordered])
    return tried[int(total.argmin())]  # the first of equal sums, so the smaller lr; sums of halves are exact


def _sensitivity(cells: _Cells, grid: Sequence[float], seeds: Sequence[int]) -> Estimate:
    """Return the mean over seeds of E_lr[min(loss, loss at initialization)] - best (Wortsman et al., arXiv 2309.14322).

    Counting divergence as the loss at initialization is that definition's own clipping, no imputation of ours. The best
    is clipped likewise, so it is never negative. A seed that failed, or is not stored, at any lr is left out.
    """
    rows = [[_clipped(cells.get(lr, _Cell()).records.get(seed)) for lr in grid] for seed in seeds]
    known = [[loss for loss in row if loss is not None] for row in rows]
    whole = [np.mean(row) - min(row) for row in known if len(row) == len(grid)]
    return mean_interval(np.array(whole, dtype=np.float64))


def _clipped(record: Record | None) -> float | None:
    """Return min(final loss, loss at step 0), None where a failure says nothing or there was no loss at step 0."""
    if record is None or record.outcome.status == "failed":
        return None
    initial = next((point.val_loss for point in record.curve if point.step == 0), None)
    if initial is None or not math.isfinite(initial):
        return None
    final = None if record.final is None else record.final.val_loss
    return initial if final is None else min(final, initial)


def _usable(cells: _Cells, grid: Sequence[float], seeds: int, learned: frozenset[str]) -> Usable:
    """Return the widest stretch of USABLE_RULE.

    Without the demand to learn, a scheme that stays at chance at every lr would be called usable at all of them.
    """
    means = {lr: _mean_where_all_learn(cells.get(lr, _Cell()), seeds, learned) for lr in grid}
    best = min((mean for mean in means.values() if mean is not None), default=None)
    if best is None:
        return Usable(None, None, at_edge=False, n=seeds)
    good = [(mean := means[lr]) is not None and mean <= best + USABLE_WITHIN for lr in grid]
    low, high = max(_stretches(grid, good), key=lambda ends: ends[1] / ends[0])
    return Usable(low, high, at_edge=low == grid[0] or high == grid[-1], n=seeds)


def _mean_where_all_learn(cell: _Cell, seeds: int, learned: frozenset[str]) -> float | None:
    missing, mean = cell.rank_key(seeds)
    count = sum(record.trial.id in learned for record in cell.records.values())
    return mean if missing == 0 and 2 * count >= seeds else None


def _stretches(grid: Sequence[float], good: Sequence[bool]) -> list[tuple[float, float]]:
    """Return the first and last lr of each run of good lrs."""
    runs: list[list[float]] = [[]]
    for lr, is_good in zip(grid, good, strict=True):
        if is_good:
            runs[-1].append(lr)
        else:
            runs.append([])
    return [(run[0], run[-1]) for run in runs if run]


def _spent(record: Record) -> int:
    """Return the steps that a trial took; what is not recorded, as of a failure before its first point, is none."""
    if record.outcome.status == "finished":
        return record.trial.steps
    seen = record.curve[-1].step if record.curve else 0
    return seen if record.outcome.step is None else record.outcome.step


def _rounded(lr: float, end: float) -> float:
    """Return `lr` to 3 significant digits, as it is where rounding would bring it back to the end it is beyond."""
    rounded = float(f"{lr:.3g}")
    return rounded if (rounded < end) == (lr < end) and rounded != end else lr


def _described_cost(choice: Choice, added: Sequence[float]) -> str:
    grid = ", ".join(f"{lr:g}" for lr in choice.grid)
    extended = f" (the grid was extended once, by {_and(f'{lr:g}' for lr in sorted(added))})" if added else ""
    return (
        f"Learning rates tried with each scheme: {grid}{extended}; {_counted(len(choice.seeds), 'tuning seed')}, "
        f"{choice.steps_spent:,} training steps in all, none of them among the scoring trials."
    )


def _described_own(choice: Choice) -> str:
    own = ", ".join(f"{_named(scheme)} {lr:g}" for scheme, lr in choice.own.items())
    return f"Own lr of each scheme: {own}. {OWN_RULE}"


def _described_edge(choice: Choice) -> list[str]:
    at_edge = [_named(scheme) for scheme in choice.own if scheme in choice.edge]
    return [f"At an end of the grid, so a better lr may lie beyond it: {_and(at_edge)}."] if at_edge else []


def _described_incomplete(choice: Choice) -> list[str]:
    return [
        f"{_named(scheme)}: at no lr did every tuning trial finish; {choice.own[scheme]:g} has the most that did."
        for scheme in choice.own
        if scheme in choice.incomplete
    ]


def _described_width(choice: Choice) -> list[str]:
    widths = ", ".join(f"{_named(scheme)} {usable}" for scheme, usable in choice.usable.items())
    values = ", ".join(f"{_named(scheme)} {_estimate(of)}" for scheme, of in choice.sensitivity.items())
    never = [_named(scheme) for scheme, usable in choice.usable.items() if usable.decades is None]
    # Flat because nothing is learned anywhere is no robustness.
    warning = f" No lr serves {_and(never)}: a low sensitivity is no merit there." if never else ""
    return [
        f"{USABLE_RULE} {_counted(len(choice.seeds), 'tuning seed')}: {widths}.",
        f"{SENSITIVITY_RULE} With 95 % t interval: {values}.{warning}",
    ]


def _estimate(of: Estimate) -> str:
    if of.mean is None:
        return "– (n = 0)"
    return f"{of.mean:.3f} (n = 1)" if of.half is None else f"{of.mean:.3f} ± {of.half:.3f} (n = {of.n})"


def _named(scheme: str) -> str:
    # Commas and semicolons within a scheme would blur the list it stands in.
    return f"“{scheme}”" if {";", ","} & set(scheme) else scheme


def _and(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
