"""How signal and gradient change from layer to layer at step 0: one scheme's statistics as arrays over seeds."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from initbench.analysis.statistics.intervals import Estimate, Floats, mean_interval
from initbench.records.record import LayerStatistics, StepZero

STATISTICS = (
    "forward_moment",
    "forward_moment_predicted",
    "gradient_moment",
    "gradient_moment_predicted",
    "spread",
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
    """The weighted layers of one scheme per seed: `hidden` (seeds, layers) without the head, and `heads` (seeds,)."""

    steps: tuple[StepZero, ...]
    hidden: tuple[tuple[LayerStatistics, ...], ...]
    heads: tuple[LayerStatistics, ...]

    @property
    def names(self) -> list[str]:
        """The hidden layers in order."""
        return [layer.layer for layer in self.hidden[0]]

    @property
    def nonlinearity(self) -> str:
        """The activation that most hidden layers have."""
        counts = Counter(layer.nonlinearity for layer in self.hidden[0])
        return counts.most_common(1)[0][0] if counts else "linear"

    def column(self, name: str) -> Floats:
        """Return one of `STATISTICS` (seeds, hidden layers), NaN where it is missing; the array is read-only."""
        return self._columns[name]

    @cached_property
    def _columns(self) -> dict[str, Floats]:
        """All statistics at once: several checks read the same ones, and visiting each layer is what takes time."""
        rows = [[_statistics(layer) for layer in layers] for layers in self.hidden]
        grid = np.array(rows, dtype=np.float64).reshape(len(rows), -1, len(STATISTICS))
        columns: dict[str, Floats] = {
            name: np.ascontiguousarray(grid[:, :, place]) for place, name in enumerate(STATISTICS)
        }
        for column in columns.values():
            column.flags.writeable = False
        return columns

    @property
    def gradient_norms(self) -> Floats:
        """The mean of ‖∂z‖² over images (seeds, hidden layers), which does not depend on width or resolution.

        Under He's rule with fan_in, E[(∂x)²]·n_in = E[(∂z)²]·n_out: the norm is preserved where the mean is not.
        """
        return self.column("gradient_moment") * self.column("outputs")

    def network(self, name: str) -> Floats:
        """Return one statistic of the network (seeds,), without missing values."""
        values = np.array([getattr(step.network, name) for step in self.steps], dtype=np.float64)
        return values[np.isfinite(values)]


def signal_slopes(steps: Sequence[StepZero]) -> tuple[Estimate, Estimate]:
    """Return the slopes per hidden layer of log2 E[z²] forward and of log2 ‖∂z‖² backward, with 95 % intervals.

    Least squares over all hidden layers of a draw; draws in which one is 0 or missing have no slope.
    """
    layers = weighted_layers(steps)
    if not layers.steps or len(layers.names) < 2:
        return Estimate(None, None, 0), Estimate(None, None, 0)
    forward, backward = layers.column("forward_moment"), layers.gradient_norms[:, ::-1]
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
