"""Whether measured moments agree with predictions: the ratio of each layer, with the interval that seeds explain."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy  # its parts load when they are first used

from initbench.analysis.statistics.intervals import Floats
from initbench.records.record import LayerStatistics, StepZero

PREDICTED = ("forward_moment", "gradient_moment")
# The chance that a scheme whose laws hold in every layer is told that one of them does not.
ALPHA = 0.01
ROUNDING = 2e-3  # in ln: of float32 sums, and of integrals that are interpolated


@dataclass(frozen=True)
class Agreement:
    """ln of the mean over `n` seeds of measured over predicted in one layer, with its interval."""

    layer: str
    moment: str
    ratio: float
    low: float
    high: float
    n: int

    @property
    def inside(self) -> bool:
        """Whether sampling explains the difference: only then is the value predicted."""
        return self.low <= 0 <= self.high


def agreements(steps: Sequence[StepZero]) -> tuple[Agreement, ...]:
    """Return one agreement for each layer and moment with a prediction, in order of layers.

    The intervals hold together with probability 1 − `ALPHA` (Bonferroni), if each prediction is the expectation of its
    layer. The ratios of seeds count as lognormal, and networks without signal as a share of their own.
    """
    layers: dict[tuple[str, str], list[LayerStatistics]] = {}
    for step in steps:
        for layer in step.layers:
            for moment in PREDICTED:
                if getattr(layer, f"{moment}_predicted") is not None and getattr(layer, moment) is not None:
                    layers.setdefault((layer.layer, moment), []).append(layer)
    # A gradient has passed the layers above, whose spread is not recorded per layer: the largest one bounds it.
    largest = max((layer.spread or 0.0 for step in steps for layer in step.layers), default=0.0)
    tail = ALPHA / max(1, len(layers)) / 4  # two sides of two intervals
    found = []
    drawn = _draws(layers)
    for (name, moment), rows in layers.items():
        spread = largest if moment == "gradient_moment" else max(row.spread or 0.0 for row in rows)
        pairs = np.array([[getattr(row, moment), getattr(row, f"{moment}_predicted")] for row in rows])
        pairs = pairs[pairs[:, 1] > 0]
        if (pairs[:, 0] > 0).any():
            found.append(
                Agreement(name, moment, *_interval(pairs[:drawn, 0] / pairs[:drawn, 1], spread, tail), len(pairs))
            )
    return tuple(found)


def _draws(layers: Mapping[tuple[str, str], Sequence[LayerStatistics]]) -> int | None:
    """Return 1 where seeds share the weights of a layer, which then are one draw and tell nothing of the spread."""
    shared = any(
        len(rows) > 1 and len({row.forward_moment for row in rows}) == 1
        for (_, moment), rows in layers.items()
        if moment == "forward_moment"
    )
    return 1 if shared else None


def withhold(frame: pd.DataFrame, rows: "pd.Series[bool]", steps: Sequence[StepZero]) -> None:
    """Set to NaN, in `rows` of a table of layers, the predictions that sampling does not reconcile with `steps`."""
    for one in agreements(steps):
        if not one.inside:
            frame.loc[rows & (frame["layer"] == one.layer), f"{one.moment}_predicted"] = np.nan


def _interval(ratios: Floats, spread: float, tail: float) -> tuple[float, float, float]:
    """Return ln of the mean ratio with the ends of its interval: what both, seeds and finite width, leave possible.

    By the seeds' own spread s the mean of a lognormal is exp(mean ln + s²/2), with Cox's standard error and Student's
    t. By the spread that finite width causes at most, it lies within z standard errors, of which a few seeds tell less.
    """
    n, logs = len(ratios), np.log(ratios[ratios > 0])
    alive, middle = len(logs) / n, float(logs.mean())
    lost = (1 - alive) / (n * alive)
    z = float(scipy.special.ndtri(1 - tail)) * math.sqrt(spread**2 / n + lost) + ROUNDING
    centre = middle + math.log(alive)
    if len(logs) < 2:
        return centre, centre - z, centre + z + spread**2 / 2
    s2 = float(logs.var(ddof=1))
    error = math.sqrt(s2 / len(logs) + s2**2 / 2 / (len(logs) - 1) + lost)
    half = float(scipy.special.stdtrit(len(logs) - 1, 1 - tail)) * error + ROUNDING
    ratio = centre + s2 / 2
    return ratio, min(ratio, max(ratio - half, centre - z)), max(ratio, min(ratio + half, centre + z + spread**2 / 2))
