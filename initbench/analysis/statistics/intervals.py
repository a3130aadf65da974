"""Means with intervals, medians of censored steps, and the test of having learned.

Arrays hold finite numbers only; the caller leaves missing values out and shows the n that remains.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import scipy  # its parts load when they are first used: scipy.stats takes half a second
from numpy.typing import NDArray

ALPHA = 0.05
CONFIDENCE = 0.95
# The chance of calling a network that only guesses "learned": about one in a thousand trials.
LEARNED_ALPHA = 0.001

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Estimate:
    """The mean of `n` values and the half-width of its 95 % interval, each None where n is too small."""

    mean: float | None
    half: float | None
    n: int

    @property
    def low(self) -> float | None:
        """The lower end of the interval."""
        return None if self.mean is None or self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        """The upper end of the interval."""
        return None if self.mean is None or self.half is None else self.mean + self.half


def mean_band(values: Floats) -> tuple[Floats, Floats | None]:
    """Return means and 95 % half-widths, each of shape (k,), over the n rows of an (n, k) array.

    Student's t with n - 1 degrees of freedom: at 3 to 20 seeds it keeps its coverage where percentile and BCa
    bootstraps fall short. Fewer than two rows give no half-width.
    """
    n = len(values)
    mean = values.mean(axis=0)
    if n < 2:
        return mean, None
    half = scipy.special.stdtrit(n - 1, (1 + CONFIDENCE) / 2) * values.std(axis=0, ddof=1) / np.sqrt(n)
    # Equal values have an interval of width zero; rounding in the mean would make it 1e-17.
    equal = np.ptp(values, axis=0) == 0
    return np.where(equal, values[0], mean), np.where(equal, 0.0, half)


def mean_interval(values: Floats) -> Estimate:
    """Return the mean of an (n,) array with its 95 % Student t interval; no mean at n = 0, no interval at n = 1."""
    n = len(values)
    if n == 0:
        return Estimate(None, None, 0)
    mean, half = mean_band(values[:, np.newaxis])
    return Estimate(float(mean[0]), None if half is None else float(half[0]), n)


def geometric_band(values: Floats) -> tuple[Floats, Floats | None, Floats | None]:
    """Return geometric means, lower and upper 95 % ends, each (k,), over the rows of a positive (n, k) array.

    The exponential of the t interval of the mean logarithm: moments of a signal vary by factors, not by sums.
    """
    mean, half = mean_band(np.log(values))
    if half is None:
        return np.exp(mean), None, None
    return np.exp(mean), np.exp(mean - half), np.exp(mean + half)


def censored_median(steps: Floats, reached: NDArray[np.bool_]) -> float | None:
    """Return the Kaplan-Meier median of right-censored steps, None where fewer than half reach the target.

    `steps` (n,) is when a trial reached it or, where `reached` (n,) is false, how long it was observed without.
    """
    if len(steps) == 0:
        return None
    survival = scipy.stats.ecdf(scipy.stats.CensoredData.right_censored(steps, ~reached)).sf
    # A product of fractions that is exactly 1/2 may come out a rounding error above it.
    below = survival.quantiles[survival.probabilities <= 0.5 + 1e-12]
    return float(below[0]) if len(below) else None


@cache  # accuracies take few values, and a binomial of SciPy takes a tenth of a millisecond
def beats_guessing(correct: int, size: int, guess: float) -> bool:
    """Return whether `correct` of `size` answers are more than guessing with accuracy `guess` gives by chance.

    One-sided exact binomial test at p < 0.001.
    """
    return bool(scipy.stats.binom.sf(correct - 1, size, guess) < LEARNED_ALPHA)


def images_to_beat_guessing(guess: float) -> int | None:
    """Return the fewest images on which a perfect score beats guessing with accuracy `guess`; None where none can.

    All of n right by guessing has probability guess^n.
    """
    if guess >= 1:
        return None
    n = 1
    while guess**n >= LEARNED_ALPHA:
        n += 1
    return n
