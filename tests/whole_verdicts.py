"""Worlds in which the truth is known, and how often the whole verdict is wrong there."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from initbench.analysis.comparing import Sides, compare_accuracies
from initbench.analysis.statistics.paired import share
from initbench.analysis.verdicts import judge_accuracy

MORE = {"learns", "learns more often"}
LESS = {"does not learn", "learns less often"}


@dataclass(frozen=True)
class World:
    """A law of (learned, accuracy) for a scheme and one for the baseline; NaN is the accuracy of a diverged trial.

    Both draw from `rng` for n seeds, the seed's own share being drawn first. `shares` and `means` are the signs of the
    true differences, so 0 makes any word of a difference an error.
    """

    scheme: Callable
    baseline: Callable
    shares: int
    means: int

    def wrong(self, verdict):
        """Whether the verdict states a difference that is not, or in the wrong direction."""
        if verdict.p is None:  # counted, not tested
            return False
        said_shares = (verdict.kind in MORE) - (verdict.kind in LESS)
        said_means = (verdict.kind == "better") - (verdict.kind == "worse")
        return said_shares not in {0, self.shares} or said_means not in {0, self.means}


def learner(q, accuracy=0.9, spread=0.02, *, diverges=False, spike=0.0, floor=0.1):
    """A scheme that learns with probability `q`; else it stays at `floor` or diverges; `spike`s fall to 0.2 to 0.8."""

    def law(rng, shared):
        n = len(shared)
        learned = rng.random(n) < q
        high = accuracy + spread * (shared + rng.normal(size=n)) / np.sqrt(2)
        high = np.where(rng.random(n) < spike, rng.uniform(0.2, 0.8, n), high)
        return learned, np.where(learned, high, np.nan if diverges else floor + 0.005 * rng.normal(size=n))

    return law


def alike(law):
    return World(law, law, 0, 0)


# Half the seeds at 0.9 and half at 0.1 have the mean 0.5; so have nine tenths at 0.5444 and a tenth at 0.1.
WORLDS = {
    **{f"alike, share {q}, rest at chance": alike(learner(q)) for q in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)},
    **{f"alike, share {q}, rest diverged": alike(learner(q, diverges=True)) for q in (0.3, 0.5, 0.7, 0.9)},
    "alike, spikes in a tenth": alike(learner(1.0, spread=0.005, spike=0.1)),
    "alike, spikes in a third": alike(learner(1.0, spread=0.005, spike=0.33)),
    "alike, share 0.7, spikes in a tenth": alike(learner(0.7, spread=0.005, spike=0.1)),
    "shares 0.5 and 0.9, rest diverged, accuracies alike": World(
        learner(0.5, diverges=True), learner(0.9, diverges=True), -1, 0
    ),
    "shares 0.3 and 0.7, rest diverged, spikes alike": World(
        learner(0.3, diverges=True, spike=0.1), learner(0.7, diverges=True, spike=0.1), -1, 0
    ),
    "shares 0.5 and 0.9, equal means": World(learner(0.5), learner(0.9, 0.49 / 0.9), -1, 0),
    "shares alike at 0.5, accuracies not": World(learner(0.5, 0.9), learner(0.5, 0.6), 0, 1),
    "shares alike at 0.8, accuracies of diverging trials not": World(
        learner(0.8, 0.9, diverges=True), learner(0.8, 0.85, diverges=True), 0, 1
    ),
}
# Means that are equal, of laws that are not alike: what a sign-flip test does not promise (Romano 1990).
UNLIKE = {
    "equal means, spikes in a third on one side": World(
        learner(1.0, 0.9, 0.02, spike=1 / 3), learner(1.0, (2 * 0.9 + 0.5) / 3, 0.02), 0, 0
    ),
    "equal means, spikes in a tenth on one side": World(
        learner(1.0, 0.9, 0.02, spike=0.1), learner(1.0, 0.9 * 0.9 + 0.05, 0.02), 0, 0
    ),
    "equal means, spread 0.01 and 0.1": World(learner(1.0, 0.8, 0.01), learner(1.0, 0.8, 0.1), 0, 0),
}


def errors(world, n, schemes, families, rng, judge=judge_accuracy):
    """Return in how many of `families` of `schemes` against one baseline any verdict is wrong, and how many decided."""
    wrong = decided = 0
    for _ in range(families):
        shared = rng.normal(size=n)
        learned, values = world.baseline(rng, shared)
        sides = []
        for _ in range(schemes):
            own, accuracies = world.scheme(rng, shared)
            sides.append(Sides(accuracies, values, own, learned))
        verdicts = judge(compare_accuracies(sides, 0.01))
        wrong += any(map(world.wrong, verdicts))
        decided += any(verdict.p is not None and verdict.ahead != 0 for verdict in verdicts)
    return wrong, decided


def row(name, n, schemes, families, found):
    """Return a line of the table: the share of families with a wrong verdict, with its exact 95 % interval."""
    wrong, decided = found
    ends = share(wrong, families).share.interval
    cells = f"{name:57}", f"n {n:3}", f"m {schemes}", f"{wrong:4} of {families}", f"{wrong / families:.3f}"
    return " | ".join((*cells, f"[{ends.low:.3f}, {ends.high:.3f}]", f"decided {decided / families:.2f}"))
