"""The variance of test accuracy by source: initialization seed, data-order seed, and the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initbench.analysis.statistics.variance import Components, components
from initbench.records.recipe import Place
from initbench.records.record import Record

_Key = tuple[Place, float, str]


@dataclass(frozen=True)
class Decomposition:
    """The components of one scheme's test accuracy in its setting, or the reason why there are none.

    `finished` of `cells` (init seeds × order seeds) have a test accuracy.
    """

    place: Place
    lr: float
    scheme: str
    n_init: int
    n_order: int
    finished: int
    components: Components | None
    reason: str

    @property
    def cells(self) -> int:
        """The trials of the full crossing."""
        return self.n_init * self.n_order


def decompose(records: Sequence[Record]) -> tuple[Decomposition, ...]:
    """Return one decomposition per scheme and setting, in order of appearance.

    `records` are those of the crossing, its diagonal included: a trial without an order seed uses its seed for both. A
    scheme without a trial off the diagonal was not crossed and has no decomposition.
    """
    groups: dict[_Key, dict[tuple[int, int], Record]] = {}
    for record in records:
        trial = record.trial
        order = trial.seed if trial.order_seed is None else trial.order_seed
        key = (trial.place, trial.lr, trial.scheme)
        groups.setdefault(key, {})[trial.seed, order] = record
    return tuple(_decompose(key, cells) for key, cells in groups.items() if any(i != j for i, j in cells))


def _decompose(key: _Key, cells: dict[tuple[int, int], Record]) -> Decomposition:
    inits, orders = sorted({i for i, _ in cells}), sorted({j for _, j in cells})
    accuracies = {seeds: record.final.test_accuracy for seeds, record in cells.items() if record.final is not None}
    finished, wanted = len(accuracies), len(inits) * len(orders)
    found, reason = None, ""
    if finished < wanted:
        # A table with holes is unbalanced, and trials that diverge are not missing at random.
        reason = f"not estimated: {wanted - finished} of {wanted} cells did not finish"
    elif min(len(inits), len(orders)) < 2:
        reason = f"not estimated: {len(inits)} × {len(orders)} seeds, at least 2 × 2 are needed"
    else:
        found = components(np.array([[accuracies[i, j] for j in orders] for i in inits], dtype=np.float64))
    return Decomposition(*key, len(inits), len(orders), finished, found, reason)
