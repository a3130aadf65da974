"""Learning rates tuned fairly: the same grid for every scheme, tuning seeds only, validation results only.

Test results are not read here: tuning on them, as DeepOBS does, would leak what the scoring seeds measure.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy  # its parts load when they are first used: scipy.stats takes half a second

from initbench.analysis.frames import learned_trials
from initbench.analysis.statistics.intervals import Estimate, mean_interval
from initbench.records.recipe import Place
from initbench.records.record import Record

# Half a decade: the step from a grid of a single lr, which has no ratio of its own.
LONE_RATIO = math.sqrt(10)
# In nats: the geometric mean probability of the right answer is then at most 10 % below the best (e^-0.1 = .905). A
# share of the loss would tighten without end for schemes whose best loss nears 0.
USABLE_WITHIN = 0.1

OWN_RULE = (
    "A scheme's own lr has the lowest mean final validation loss over the tuning seeds among the lrs at which every "
    "tuning trial finished; without such an lr, it is the one with the most finished trials. Ties go to the smaller "
    "loss, then to the smaller lr."
)
COMMON_RULE = (
    "The common lr has the best mean rank over schemes. Each scheme ranks the lrs that all schemes tried by mean final "
    "validation loss over the tuning seeds; lrs with unfinished trials come last, the fewer finished the later. Ties "
    "go to the smaller lr."
)
SENSITIVITY_RULE = (
    "Sensitivity to lr (Wortsman et al. 2023): mean over the grid of min(final validation loss, loss at step 0), minus "
    "its minimum, in nats, per seed; by definition a diverged trial counts as the loss at step 0."
)
USABLE_RULE = (
    f"Usable lrs: the widest contiguous range of the grid, in decades, with a mean final validation loss within "
    f"{USABLE_WITHIN:g} nats of the best, where every tuning trial finished and at least half of them learned."
)


@dataclass(frozen=True)
class Usable:
    """The range of lrs from `low` to `high` that train nearly as well as the best (USABLE_RULE), over `n` tuning seeds.

    Both ends are None where the scheme learns at no lr of the grid. `at_edge`: the range reaches an end of the grid, so
    the true one may be wider.
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
class TunedRates:
    """The lrs chosen from the tuning trials of one dataset, model, optimizer and batch size; maps are by scheme.

    `own` follows OWN_RULE, `common` COMMON_RULE. `edge`: schemes whose own lr is at an end of `grid`. `incomplete`:
    schemes without an lr at which every tuning trial finished. `sensitivity` is in nats (SENSITIVITY_RULE), its n the
    seeds with a loss at every lr of the grid. `steps_spent` counts the training steps of all tuning trials, of diverged
    ones up to their end.
    """

    place: Place
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
        """Whether some scheme's own lr is the smallest of the grid."""
        return self.grid[0] in self.own.values()

    @property
    def edge_high(self) -> bool:
        """Whether some scheme's own lr is the largest of the grid."""
        return self.grid[-1] in self.own.values()


@dataclass
class _Cell:
    """The tuning trials of one scheme at one lr, by seed."""

    records: dict[int, Record] = field(default_factory=dict)

    def losses(self) -> list[float]:
        """Return the finite final validation losses."""
        finals = [record.final for record in self.records.values()]
        return [final.val_loss for final in finals if final is not None and final.val_loss is not None]

    def rank_key(self, seeds: int) -> tuple[int, float]:
        """Return the sort key of an lr: how many of `seeds` trials did not finish, then the mean loss of the others."""
        losses = self.losses()
        return seeds - len(losses), float(np.mean(losses)) if losses else math.inf


_Cells = dict[float, _Cell]


def tune_rates(records: Sequence[Record]) -> tuple[TunedRates, ...]:
    """Choose lrs from tuning records, for each place in order of appearance.

    `records` are of tuning seeds only, which no scoring trial may have. A trial that is not stored counts as not
    finished.
    """
    groups: dict[Place, list[Record]] = {}
    for record in records:
        groups.setdefault(record.trial.place, []).append(record)
    return tuple(_tuned(place, group) for place, group in groups.items())


def extended_grid(grid: tuple[float, ...], edge_low: bool, edge_high: bool) -> tuple[float, ...]:
    """Return a sorted grid extended by one lr at each end that is some scheme's own lr, to 3 significant digits.

    The step is the geometric mean of the grid's ratios; a grid of one lr steps by half a decade.
    """
    low, high = grid[0], grid[-1]
    ratio = (high / low) ** (1 / (len(grid) - 1)) if len(grid) > 1 else LONE_RATIO
    below = [_rounded(low / ratio, low)] if edge_low else []
    above = [_rounded(high * ratio, high)] if edge_high else []
    return (*below, *grid, *above)


def _tuned(place: Place, records: Sequence[Record]) -> TunedRates:
    cells = _by_scheme(records)
    grid = tuple(sorted({record.trial.lr for record in records}))
    seeds = tuple(sorted({record.trial.seed for record in records}))
    keys = {
        scheme: {lr: cell.rank_key(len(seeds)) for lr, cell in sorted(by_lr.items())} for scheme, by_lr in cells.items()
    }
    own = {scheme: min(by_lr, key=lambda lr: (by_lr[lr], lr)) for scheme, by_lr in keys.items()}
    learned = learned_trials(records)
    return TunedRates(
        place=place,
        grid=grid,
        own=own,
        common=_common(keys, grid),
        edge=frozenset(scheme for scheme, lr in own.items() if lr in (grid[0], grid[-1])),
        incomplete=frozenset(scheme for scheme, lr in own.items() if keys[scheme][lr][0] > 0),
        sensitivity={scheme: _sensitivity(by_lr, grid, seeds) for scheme, by_lr in cells.items()},
        usable={scheme: _usable(by_lr, grid, len(seeds), learned) for scheme, by_lr in cells.items()},
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
    # An lr that some scheme has not tried cannot be common, unless the run stopped before any was tried by all.
    tried = [lr for lr in grid if all(lr in by_lr for by_lr in keys.values())] or list(grid)
    total = np.zeros(len(tried))
    for by_lr in keys.values():
        ordered = [by_lr.get(lr, (math.inf, math.inf)) for lr in tried]
        places = {key: place for place, key in enumerate(sorted(set(ordered)))}
        total += scipy.stats.rankdata([places[key] for key in ordered])
    return tried[int(total.argmin())]  # the first of equal sums, so the smaller lr; sums of halves are exact


def _sensitivity(cells: _Cells, grid: Sequence[float], seeds: Sequence[int]) -> Estimate:
    """Return the mean over seeds of E_lr[min(loss, loss at initialization)] - best (Wortsman et al., arXiv 2309.14322).

    Counting divergence as the loss at initialization is part of the definition, not an imputation of this package. The
    best is clipped likewise, so the result is never negative. A seed with a failed or missing trial is left out.
    """
    rows = [[_clipped(cells.get(lr, _Cell()).records.get(seed)) for lr in grid] for seed in seeds]
    known = [[loss for loss in row if loss is not None] for row in rows]
    spreads = [np.mean(row) - min(row) for row in known if len(row) == len(grid)]
    return mean_interval(np.array(spreads, dtype=np.float64))


def _clipped(record: Record | None) -> float | None:
    """Return min(final loss, loss at step 0), None for a failed trial or without a loss at step 0."""
    if record is None or record.outcome.status == "failed":
        return None
    initial = next((point.val_loss for point in record.curve if point.step == 0), None)
    if initial is None or not math.isfinite(initial):
        return None
    final = None if record.final is None else record.final.val_loss
    return initial if final is None else min(final, initial)


def _usable(cells: _Cells, grid: Sequence[float], seeds: int, learned: frozenset[str]) -> Usable:
    """Return the range of USABLE_RULE.

    Unless trials must learn, a scheme that stays at chance at every lr would count as usable at all of them.
    """
    means = {lr: _mean_where_all_learn(cells.get(lr, _Cell()), seeds, learned) for lr in grid}
    best = min((mean for mean in means.values() if mean is not None), default=None)
    if best is None:
        return Usable(None, None, at_edge=False, n=seeds)
    good = [(mean := means[lr]) is not None and mean <= best + USABLE_WITHIN for lr in grid]
    low, high = max(_runs(grid, good), key=lambda ends: ends[1] / ends[0])
    return Usable(low, high, at_edge=low == grid[0] or high == grid[-1], n=seeds)


def _mean_where_all_learn(cell: _Cell, seeds: int, learned: frozenset[str]) -> float | None:
    missing, mean = cell.rank_key(seeds)
    count = sum(record.trial.id in learned for record in cell.records.values())
    return mean if missing == 0 and 2 * count >= seeds else None


def _runs(grid: Sequence[float], good: Sequence[bool]) -> list[tuple[float, float]]:
    """Return the first and the last lr of each contiguous run of good lrs."""
    runs: list[list[float]] = [[]]
    for lr, is_good in zip(grid, good, strict=True):
        if is_good:
            runs[-1].append(lr)
        else:
            runs.append([])
    return [(run[0], run[-1]) for run in runs if run]


def _spent(record: Record) -> int:
    """Return the steps that a trial took; 0 where none are recorded, as of a failure before its first point."""
    if record.outcome.status == "finished":
        return record.trial.steps
    seen = record.curve[-1].step if record.curve else 0
    return seen if record.outcome.step is None else record.outcome.step


def _rounded(lr: float, end: float) -> float:
    """Return `lr` to 3 significant digits, unrounded where rounding would move it back to `end` or past it."""
    rounded = float(f"{lr:.3g}")
    return rounded if (rounded < end) == (lr < end) and rounded != end else lr
