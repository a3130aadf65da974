"""How signal and gradient change from layer to layer at step 0: one scheme's statistics as arrays over seeds."""

import itertools
import math
from collections import Counter
from collections.abc import Collection, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import Self

import numpy as np
from numpy.typing import NDArray

from initbench.analysis.statistics.intervals import Estimate, Floats, mean_interval
from initbench.analysis.step_zero.agreement import Agreement, agreements
from initbench.records.record import LayerStatistics, StepZero

STATISTICS = (
    "forward_moment",
    "activation_moment",
    "gradient_moment",
    "cosine",
    "effective_rank",
    "dead_fraction",
    "weight_norm",
    "symmetric_units",
    "units",
    "outputs",
)
_statistics = attrgetter(*STATISTICS)


@dataclass(frozen=True)
class WeightedLayers:
    """The weighted layers of one scheme per seed: `hidden` (seeds, layers) without the head, and `heads` (seeds,).

    A layer may be absent in a seed: skipped at random, or an expert without inputs. `bad` are schemes that were judged
    bad on this model.
    """

    steps: tuple[StepZero, ...]
    hidden: tuple[tuple[LayerStatistics, ...], ...]
    heads: tuple[LayerStatistics, ...]
    bad: tuple[str, ...] = ()

    def beside(self, bad: Collection[str]) -> Self:
        """Return these layers beside schemes that were judged bad; what was computed of them is kept."""
        twin = copy(self)
        object.__setattr__(twin, "bad", tuple(bad))
        return twin

    @cached_property
    def agreements(self) -> tuple[Agreement, ...]:
        """How measured moments agree with predictions."""
        return agreements(self.steps)

    def judged_bad(self, family: str) -> bool:
        """Return whether a scheme whose name begins so was judged bad on this model."""
        return any(scheme.startswith(family) for scheme in self.bad)

    @cached_property
    def names(self) -> list[str]:
        """The hidden layers of any seed in order."""
        return in_order([[layer.layer for layer in row] for row in self.hidden])

    @cached_property
    def nonlinearity(self) -> str:
        """The activation that most hidden layers have."""
        counts = Counter(layer.nonlinearity for row in self.hidden for layer in row)
        return counts.most_common(1)[0][0] if counts else "linear"

    def column(self, name: str) -> Floats:
        """Return one of `STATISTICS` (seeds, hidden layers), NaN where it is missing; the array is read-only."""
        return self._columns[name]

    @cached_property
    def present(self) -> NDArray[np.bool_]:
        """A mask of the layers that ran (seeds, hidden layers)."""
        ran = [{layer.layer for layer in row} for row in self.hidden]
        return np.array([[name in seen for name in self.names] for seen in ran], dtype=bool).reshape(len(ran), -1)

    @property
    def reached(self) -> NDArray[np.bool_]:
        """A mask of the layers that ran and lie on the way to the loss (seeds, hidden layers)."""
        without = [{name.rpartition(".")[0] for name in step.detached} for step in self.steps]
        names = self.names
        reached = np.array([[name not in of_seed for name in names] for of_seed in without], dtype=bool)
        return np.asarray(self.present & reached.reshape(self.present.shape))

    def _bridged(self, moments: Floats, measured: NDArray[np.bool_]) -> Floats:
        """Return moments (seeds, hidden layers), those not measured between their neighbours on a log scale."""
        if measured.all():
            return moments
        filled, places = moments.copy(), np.arange(moments.shape[1])
        with np.errstate(divide="ignore"):
            logs = np.log(moments)
        for row, (ran, known) in enumerate(zip(measured, logs, strict=True)):
            if ran.any():
                filled[row, ~ran] = np.exp(np.interp(places[~ran], places[ran], known[ran]))
        return filled

    @cached_property
    def _columns(self) -> dict[str, Floats]:
        """All statistics at once: several checks read the same ones, and visiting each layer is what takes time."""
        missing = (math.nan,) * len(STATISTICS)
        by_name = [{layer.layer: _statistics(layer) for layer in layers} for layers in self.hidden]
        names = self.names
        rows = [[row.get(name, missing) for name in names] for row in by_name]
        grid = np.array(rows, dtype=np.float64).reshape(len(rows), -1, len(STATISTICS))
        columns: dict[str, Floats] = {
            name: np.ascontiguousarray(grid[:, :, place]) for place, name in enumerate(STATISTICS)
        }
        for column in columns.values():
            column.flags.writeable = False
        return columns

    @cached_property
    def gradient_norms(self) -> Floats:
        """The mean of ‖∂z‖² over images (seeds, hidden layers), which does not depend on width or resolution.

        Under He's rule with fan_in, E[(∂x)²]·n_in = E[(∂z)²]·n_out: the norm is preserved where the mean is not.
        """
        return self._bridged(self.column("gradient_moment") * self.column("outputs"), self.reached)

    @cached_property
    def signal(self) -> Floats:
        """E[z²] (seeds, hidden layers)."""
        return self._bridged(self.column("forward_moment"), self.present)

    def network(self, name: str) -> Floats:
        """Return one statistic of the network (seeds,), without missing values."""
        values = np.array([getattr(step.network, name) for step in self.steps], dtype=np.float64)
        return values[np.isfinite(values)]


def in_order(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the names of all rows in their common order, each row a pass in which some layers may be absent."""
    rows = list(dict.fromkeys(map(tuple, rows)))  # most seeds run the same layers
    longest = sorted(rows, key=len, reverse=True)[:1]
    names = [name for row in longest for name in row]
    for row in rows:
        for before, name in itertools.pairwise(["", *row]):
            if name not in names:
                names.insert(names.index(before) + 1 if before in names else 0, name)
    return names


def signal_slopes(steps: Sequence[StepZero]) -> tuple[Estimate, Estimate]:
    """Return the slopes per hidden layer of log2 E[z²] forward and of log2 ‖∂z‖² backward, with 95 % intervals.

    Least squares over all hidden layers of a draw; draws in which one is 0 or missing have no slope.
    """
    return slopes_of(weighted_layers(steps))


def slopes_of(layers: WeightedLayers) -> tuple[Estimate, Estimate]:
    """Return the slopes of weighted layers, as `signal_slopes` does."""
    if not layers.steps or len(layers.names) < 2:
        return Estimate(None, None, 0), Estimate(None, None, 0)
    forward, backward = layers.signal, layers.gradient_norms[:, ::-1]
    return mean_interval(log2_slopes(forward[:, passed_through(forward)])), mean_interval(
        log2_slopes(backward[:, passed_through(backward)])
    )


def power_of_two(bits: float) -> float:
    """Return 2^bits, infinity where that overflows, as the interval of two seeds may."""
    return 2.0**bits if bits < 1024 else math.inf


def weighted_layers(steps: Sequence[StepZero]) -> WeightedLayers:
    """Return the weighted layers of each seed; a seed without any is left out."""
    weighted = [tuple(layer for layer in step.layers if layer.kind in {"linear", "conv"}) for step in steps]
    kept = [(step, layers) for step, layers in zip(steps, weighted, strict=True) if layers]
    return WeightedLayers(
        tuple(step for step, _ in kept),
        tuple(layers[:-1] for _, layers in kept),
        tuple(layers[-1] for _, layers in kept),
    )


def log2_slopes(moments: Floats) -> Floats:
    """Return the least-squares slope of log2 of each row (seeds, layers), without rows that hold a 0 or a gap."""
    usable = moments[(np.isfinite(moments) & (moments > 0)).all(axis=1)]
    x = np.arange(moments.shape[1]) - (moments.shape[1] - 1) / 2
    return np.asarray((np.log2(usable) * x).sum(axis=1) / (x**2).sum())


def passed_through(moments: Floats) -> NDArray[np.bool_]:
    """Return a mask of the layers that the signal passes through (not skipped by a residual connection).

    `moments` (seeds, layers) are in the order of travel. A layer at exactly 0 with a later one above 0 is in a residual
    branch that starts at 0: the signal took the skip connection.
    """
    nonzero = (moments != 0).any(axis=0)
    return np.asarray(nonzero | ~np.logical_or.accumulate(nonzero[::-1])[::-1])
