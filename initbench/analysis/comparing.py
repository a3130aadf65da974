"""From the two sides of pairs to comparisons: tests adjusted over a family, then intervals at the tests' levels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from initbench.analysis.statistics.families import Adjusted, adjust
from initbench.analysis.statistics.flips import ChoiceTest, choice_test
from initbench.analysis.statistics.intervals import Bools, Floats
from initbench.analysis.statistics.paired import Paired, Shares, compare_pairs, compare_shares, exact_differences
from initbench.analysis.statistics.survival import SpeedComparison, compare_steps


@dataclass(frozen=True)
class Sides:
    """The values of `scheme` and `baseline` (n,), NaN where there is none, and who `succeeded`, by seed.

    `failed` pairs are not among them: a trial that failed shows nothing.
    """

    scheme: Floats
    baseline: Floats
    succeeded: Bools
    baseline_succeeded: Bools
    failed: int = 0

    @property
    def both(self) -> Bools:
        """The pairs in which both sides have a value."""
        return np.isfinite(self.scheme) & np.isfinite(self.baseline)

    @property
    def missing(self) -> tuple[int, int]:
        """How many values the scheme lacks, and how many the baseline."""
        return int((~np.isfinite(self.scheme)).sum()), int((~np.isfinite(self.baseline)).sum())

    def test(self) -> ChoiceTest:
        """Return the tests of who succeeded and of the values, not adjusted."""
        values = np.zeros(len(self.scheme))
        values[self.both] = exact_differences(self.scheme[self.both], self.baseline[self.both])
        return choice_test(self.succeeded.astype(np.float64) - self.baseline_succeeded, values)


@dataclass(frozen=True)
class AccuracyComparison:
    """A scheme's accuracies against the baseline's, as shares: `pairs` that finished on both sides, and who `learned`.

    `learned` is over all pairs of seeds; a diverged trial did not learn. `missing` counts the values that the scheme
    and the baseline lack.
    """

    pairs: Paired
    learned: Shares
    tests: Adjusted
    missing: tuple[int, int]


@dataclass(frozen=True)
class StepsComparison:
    """A scheme's steps to the target against the baseline's, with the adjusted tests."""

    speed: SpeedComparison
    tests: Adjusted


def compare_accuracies(family: Sequence[Sides], smallest_interesting: float) -> tuple[AccuracyComparison, ...]:
    """Return the comparisons of a family in test accuracy; `smallest_interesting` is a share."""
    return tuple(
        AccuracyComparison(
            pairs=compare_pairs(
                sides.scheme[sides.both],
                sides.baseline[sides.both],
                smallest_interesting=smallest_interesting,
                alpha=tests.values_level,
                dropped=sides.failed + int((~sides.both).sum()),
            ),
            learned=compare_shares(sides.succeeded, sides.baseline_succeeded, tests.shares_level),
            tests=tests,
            missing=sides.missing,
        )
        for sides, tests in zip(family, adjust([sides.test() for sides in family]), strict=True)
    )


def compare_speeds(family: Sequence[Sides], budget: float, smallest_interesting: float) -> tuple[StepsComparison, ...]:
    """Return the comparisons of a family in steps to the target, whose values are at most `budget`."""
    return tuple(
        StepsComparison(
            compare_steps(
                sides.scheme,
                sides.succeeded,
                sides.baseline,
                sides.baseline_succeeded,
                budget=budget,
                smallest_interesting=smallest_interesting,
                alpha=tests.values_level,
                shares_alpha=tests.shares_level,
                dropped=sides.failed,
            ),
            tests,
        )
        for sides, tests in zip(family, adjust([sides.test() for sides in family]), strict=True)
    )
