"""Families of comparisons: p values and levels adjusted together, and how many seeds a family needs."""

from collections.abc import Sequence
from dataclasses import dataclass

from initbench.analysis.statistics.flips import ChoiceTest
from initbench.analysis.statistics.intervals import ALPHA

_Named = dict[str, float]


@dataclass(frozen=True)
class Adjusted:
    """The tests of one comparison in its family: of who succeeds (`shares`) and of by how much (`values`).

    A p is None where that test takes no part. A test alone rejects at its level exactly where its adjusted p is at most
    .05, so intervals at these levels exclude what the tests reject. `family` counts the comparisons.
    """

    shares_p: float | None
    values_p: float | None
    shares_level: float
    values_level: float
    family: int

    @property
    def p(self) -> float | None:
        """The smaller p: that of any difference."""
        return min((p for p in (self.shares_p, self.values_p) if p is not None), default=None)

    @property
    def shares_differ(self) -> bool:
        """Whether the test of who succeeds rejects."""
        return self.shares_p is not None and self.shares_p <= ALPHA

    @property
    def values_differ(self) -> bool:
        """Whether the test of the values rejects."""
        return self.values_p is not None and self.values_p <= ALPHA


def adjust(tests: Sequence[ChoiceTest]) -> tuple[Adjusted, ...]:
    """Return the tests adjusted by Holm's step-down method (Scand. J. Statist. 6, 1979), in their order.

    A step tests every comparison that is still open at .05 over their number, with the choice between its two tests
    counted while both are open (sequentially rejective: Goeman and Solari, Ann. Statist. 38, 2010). So any false
    rejection in the family, of shares or of values, has a probability of at most .05. A comparison without pairs is
    not counted: it cannot be a false rejection.
    """
    p, levels = _adjusted_p(tests), _levels(tests)
    family = sum(1 for test in tests if _named(test))
    whole = ALPHA / max(family, 1)
    return tuple(
        Adjusted(
            p.get((i, "shares")),
            p.get((i, "values")),
            levels.get((i, "shares"), whole),
            levels.get((i, "values"), whole),
            family,
        )
        for i in range(len(tests))
    )


def adjust_alone(test: ChoiceTest, comparisons: int) -> Adjusted:
    """Return one comparison's tests at .05 over `comparisons`, whatever the others show (Bonferroni).

    The choice between its two tests is counted until one of them rejects, as in `adjust`.
    """
    p, largest, left = dict[str, float](), 0.0, _named(test)
    while left:
        least, name = min((p, name) for name, p in _open_p(test, left).items())
        p[name] = largest = max(largest, min(1.0, comparisons * least))
        del left[name]
    level = ALPHA / comparisons
    alone = test.critical(level) if len(p) == 2 else level
    return Adjusted(p.get("shares"), p.get("values"), alone, alone, comparisons)


def least_seeds(comparisons: int, alpha: float = ALPHA) -> int:
    """Return the fewest pairs with which the exact test can reach `alpha` at Holm's first step of `comparisons`.

    2 / 2^n <= alpha / m, so n >= 1 + log2(m / alpha): 6 for one comparison, 8 for four, 9 for seven.
    """
    n = 1
    while comparisons * 2.0 ** (1 - n) > alpha:
        n += 1
    return n


def _named(test: ChoiceTest) -> _Named:
    return {name: p for name, p in (("shares", test.shares_p), ("values", test.values_p)) if p is not None}


def _open_p(test: ChoiceTest, left: _Named) -> _Named:
    return {name: test.chosen.get(p, p) if len(left) == 2 else p for name, p in left.items()}


def _adjusted_p(tests: Sequence[ChoiceTest]) -> dict[tuple[int, str], float]:
    """Return the adjusted p of every test: the smallest open one first, times the comparisons still open."""
    found: dict[tuple[int, str], float] = {}
    left = {i: named for i, test in enumerate(tests) if (named := _named(test))}
    largest = 0.0
    while left:
        every = ((p, i, name) for i, named in left.items() for name, p in _open_p(tests[i], named).items())
        least, i, name = min(every)
        found[i, name] = largest = max(largest, min(1.0, len(left) * least))
        del left[i][name]
        left = {i: named for i, named in left.items() if named}
    return found


def _levels(tests: Sequence[ChoiceTest]) -> dict[tuple[int, str], float]:
    """Return the level of every test: that of the step which rejects it, of the last step where none does."""
    levels: dict[tuple[int, str], float] = {}
    left = {i: named for i, test in enumerate(tests) if (named := _named(test))}
    while left:
        alpha = ALPHA / len(left)
        alone = {i: tests[i].critical(alpha) if len(named) == 2 else alpha for i, named in left.items()}
        levels |= {(i, name): alone[i] for i, named in left.items() for name in named}
        open_after = {
            i: {name: p for name, p in named.items() if _open_p(tests[i], named)[name] * len(left) > ALPHA}
            for i, named in left.items()
        }
        if open_after == left:
            break
        left = {i: named for i, named in open_after.items() if named}
    return levels
