"""Whether measured moments agree with predictions: the ratio of each layer, with the interval that seeds explain."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import scipy  # its parts load when they are first used

from initbench.analysis.statistics.intervals import Bools, Floats
from initbench.records.record import StepZero

if TYPE_CHECKING:
    import pandas as pd

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
    names, numbers = _read(steps)
    groups = dict(_groups(names, numbers))
    # A gradient has passed the layers above, whose spread is not recorded per layer: the largest one bounds it.
    largest = max(0.0, float(np.nan_to_num(numbers[:, 0], nan=0.0).max(initial=0.0)))
    tail = ALPHA / max(1, len(groups)) / 4  # two sides of two intervals
    found = []
    drawn = _draws(groups)
    for (name, moment), rows in groups.items():
        spread = largest if moment == "gradient_moment" else float(rows[:, 2].max())
        pairs = rows[rows[:, 1] > 0]
        if (pairs[:, 0] > 0).any():
            found.append(
                Agreement(name, moment, *_interval(pairs[:drawn, 0] / pairs[:drawn, 1], spread, tail), len(pairs))
            )
    return tuple(found)


_NUMBERS = ("spread", *(f"{moment}{of}" for moment in PREDICTED for of in ("", "_predicted")))
_of_layer = attrgetter("layer", *_NUMBERS)


def _read(steps: Sequence[StepZero]) -> tuple[Sequence[str], Floats]:
    """Return the name of every layer of every seed, and its `_NUMBERS` (layers, numbers)."""
    layers = [_of_layer(layer) for layer in chain.from_iterable(step.layers for step in steps)]
    names, *columns = zip(*layers, strict=True) if layers else [()] * (1 + len(_NUMBERS))
    return names, np.array(columns, dtype=np.float64).T


def _groups(names: Sequence[str], numbers: Floats) -> Iterator[tuple[tuple[str, str], Floats]]:
    """Yield, for each layer and moment with a prediction, the measured value, the predicted one and the spread."""
    numbered = {name: code for code, name in enumerate(dict.fromkeys(names))}  # in the order in which layers first ran
    codes = np.array([numbered[name] for name in names])
    for name, code in numbered.items():
        of_layer = numbers[codes == code]  # in the order of the seeds
        for place, moment in enumerate(PREDICTED):
            pairs = of_layer[:, 1 + 2 * place : 3 + 2 * place]
            known = np.isfinite(pairs).all(axis=1)
            # A law in some seeds only, as where units flip: its mean would stand beside that of all seeds.
            if known.any() and np.isfinite(pairs[:, 1]).all():
                spread = np.nan_to_num(of_layer[known, :1], nan=0.0)
                yield (name, moment), np.hstack((pairs[known], spread))


def _draws(groups: Mapping[tuple[str, str], Floats]) -> int | None:
    """Return 1 where seeds share the weights of a layer, which then are one draw and tell nothing of the spread."""
    shared = any(
        len(rows) > 1 and np.ptp(rows[:, 0]) == 0 for (_, moment), rows in groups.items() if moment == "forward_moment"
    )
    return 1 if shared else None


def withhold(frame: "pd.DataFrame", rows: "pd.Series[bool] | Bools", steps: Sequence[StepZero]) -> None:
    """Set to NaN, in `rows` of a table of layers, the predictions that sampling does not reconcile with `steps`.

    Those that only some of the seeds have are withheld, too.
    """
    import pandas as pd  # noqa: PLC0415 - measuring needs none

    places = np.flatnonzero(rows)
    codes, names = pd.factorize(frame["layer"].iloc[places])
    unlike = {(one.layer, one.moment) for one in agreements(steps) if not one.inside}
    for moment in PREDICTED:
        column = frame.columns.get_loc(f"{moment}_predicted")
        unknown = frame.iloc[places, column].isna().to_numpy()
        withheld = np.bincount(codes, unknown, len(names)) > 0
        withheld |= [(name, moment) in unlike for name in names]
        frame.iloc[places[withheld[codes]], column] = np.nan


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
