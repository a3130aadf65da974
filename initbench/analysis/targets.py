"""The validation accuracy that counts as converged: the one that was asked for, or a default that no result touches."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from initbench.analysis.statistics.intervals import beats_guessing
from initbench.records.recipe import LEAST_SAMPLE
from initbench.records.record import DataFacts, Record

Rule = Literal["given", "nearest mean", "guessing", "unknown"]
MOST = 0.99  # a target of 1 would be missed by a single image


@dataclass(frozen=True)
class Target:
    """The validation accuracy to reach, and the rule that set it.

    `given` by the user; what the `nearest mean` of a class reaches, rounded down to a whole percent; halfway between
    guessing and 1, because the nearest class mean is hardly better than `guessing` or because what it reaches is
    `unknown`, as in folders of earlier versions. `majority`: guessing is always answering the most frequent class.
    """

    accuracy: float
    rule: Rule
    majority: bool = False


def target_of(record: Record, asked: float | None, nearest_mean: Mapping[str, float]) -> Target:
    """Return the target of a record: what was `asked` for, or the default for its dataset.

    Args:
        record: a trial.
        asked: the requested validation accuracy, None for the default.
        nearest_mean: the validation accuracy of the nearest class mean by the dataset's fingerprint, where it is known.
    """
    if asked is not None:
        return Target(asked, "given")
    return default_target(record.data, nearest_mean.get(record.trial.fingerprint))


@lru_cache(maxsize=64)  # asked for each of thousands of trials
def default_target(data: DataFacts, nearest_mean: float | None) -> Target:
    """Return the default target of a dataset, in which no result, scheme, seed or budget has a part."""
    if nearest_mean is None:
        return _halfway(data, "unknown")
    percent = math.floor(100 * nearest_mean + 1e-9)  # 0.29 is 28.999999999999996 %
    reached = min(percent / 100, MOST)
    return Target(reached, "nearest mean") if _shows_learning(reached, data) else _halfway(data, "guessing")


def _shows_learning(accuracy: float, data: DataFacts) -> bool:
    """Return whether an accuracy is out of reach of guessing, also in the smallest evaluation."""
    images = min(LEAST_SAMPLE, data.val_size)
    return beats_guessing(math.ceil(accuracy * images - 1e-9), images, data.guess)


def _halfway(data: DataFacts, rule: Rule) -> Target:
    """Return what lies halfway between guessing and 1.

    Guessing scores 1/K; where always answering the most frequent class goes a quarter of the way from there to 1 by
    itself, it scores that class's share.
    """
    chance = 1 / data.classes
    majority = data.guess - chance > (1 - chance) / 4
    return Target((1 + (data.guess if majority else chance)) / 2, rule, majority)
