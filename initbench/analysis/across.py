"""Results over several settings: schemes compared on the models and datasets that they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from initbench.analysis.panels import Panel
from initbench.analysis.statistics.aggregate import (
    Profile,
    interquartile_mean,
    performance_profile,
    probability_of_improvement,
)
from initbench.analysis.statistics.intervals import Floats
from initbench.analysis.statistics.paired import Measure

THRESHOLDS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Across:
    """Test accuracies of schemes in the same k settings; `scores` holds (n, k) per scheme, minus infinity = diverged.

    Every scheme is in all of the `panels`, with the seeds of which no trial failed.
    """

    panels: tuple[Panel, ...]
    baseline: str
    scores: Mapping[str, Floats]

    @cached_property
    def middle(self) -> dict[str, Measure]:
        """The interquartile mean of each scheme."""
        return {scheme: interquartile_mean(scores) for scheme, scores in self.scores.items()}

    @cached_property
    def improvement(self) -> dict[str, Measure]:
        """The chance that a trial of each scheme is above one of the baseline; empty where the baseline is absent."""
        if self.baseline not in self.scores:
            return {}
        baseline = self.scores[self.baseline]
        return {
            scheme: probability_of_improvement(scores, baseline)
            for scheme, scores in self.scores.items()
            if scheme != self.baseline
        }

    @cached_property
    def profiles(self) -> dict[str, Profile]:
        """The share of each scheme's trials above each of the test accuracies 0, 0.01, …, 1."""
        return {scheme: performance_profile(scores, THRESHOLDS) for scheme, scores in self.scores.items()}

    @property
    def seeds(self) -> int:
        """The fewest seeds that a scheme has."""
        return min(len(scores) for scores in self.scores.values())


def across(panels: Sequence[Panel], trials: pd.DataFrame, schemes: Sequence[str], baseline: str) -> tuple[Across, ...]:
    """Return one aggregate per rule of choosing the lr that has several panels with schemes in common."""
    found = []
    for rule in dict.fromkeys(panel.rule for panel in panels):
        alike = tuple(panel for panel in panels if panel.rule == rule)
        frames = [panel.rows(trials) for panel in alike]
        scores = {scheme: _scores([f[f["scheme"] == scheme] for f in frames]) for scheme in _order(frames, schemes)}
        shared = {scheme: rows for scheme, rows in scores.items() if len(rows)}
        if len(alike) > 1 and shared:
            found.append(Across(alike, baseline, shared))
    return tuple(found)


def _order(frames: Sequence[pd.DataFrame], schemes: Sequence[str]) -> list[str]:
    everywhere = set.intersection(*(set(frame["scheme"]) for frame in frames))
    return [scheme for scheme in dict.fromkeys((*schemes, *sorted(everywhere))) if scheme in everywhere]


def _scores(settings: Sequence[pd.DataFrame]) -> Floats:
    """Return (n, k) test accuracies of the seeds that failed in no setting."""
    columns = [
        trials[trials["outcome"] != "failed"].drop_duplicates("seed").set_index("seed")["test_accuracy"]
        for trials in settings
    ]
    together = pd.concat(columns, axis=1, join="inner").sort_index()
    return np.asarray(together.to_numpy(dtype=np.float64, na_value=-np.inf))
