"""Plots with a row per scheme: when each seed reached the target, and where it ended."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties

from initbench.analysis.statistics.intervals import Floats, censored_median, mean_interval
from initbench.report.figures.axes import even_ticks, scheme_axis, spread, step_axis
from initbench.report.figures.plots import REFERENCE, SEEDS_DRAWN, Looks, by_scheme, named, seed_names
from initbench.report.figures.style import REFERENCE_COLOUR, SCREEN, Look, Style

LANE = 0.12  # of the width of an axis of steps: what it is longer by, for those that did not arrive
Lane = tuple[float, float]


def steps_to_target(ax: Axes, trials: pd.DataFrame, looks: Looks, style: Style = SCREEN) -> Axes:
    """Draw when each seed reached the target: a dot per seed, at the right if it did not; a bar at the median.

    The axis of steps is that of the curves. Failed trials are not drawn: when they would have reached the target is
    unknown.
    """
    budget = int(trials["steps"].max())
    step_axis(ax, budget)
    lane = _lane(ax)
    shown, counts = [], []
    for row, (look, of_scheme) in enumerate(by_scheme(trials, looks)):
        watched = of_scheme[of_scheme["outcome"] != "failed"]
        shown.append(look)
        counts.append(f"{watched['steps_to_target'].notna().sum()}/{len(watched)}")
        _arrivals(ax, watched, row, look, lane)
    ax.set_xlabel("steps to target", loc="left")
    _beside_label(ax, "not reached")
    scheme_axis(ax, shown, "reached", counts, style)
    return ax


def final_accuracy(ax: Axes, trials: pd.DataFrame, looks: Looks, guess: float, style: Style = SCREEN) -> Axes:
    """Draw the test accuracy of each finished seed, the mean and its 95 % interval, cut at 0 and 1.

    The axis follows them. `guess` is a reference line, or a note at the edge where it lies outside.
    """
    shown, counts, drawn = [], [], [np.array([])]
    for row, (look, of_scheme) in enumerate(by_scheme(trials, looks)):
        values = of_scheme.dropna(subset="test_accuracy")
        shown.append(look)
        counts.append(f"{len(values)}/{len(of_scheme)}")
        drawn.append(_accuracies(ax, values, row, look))
    ax.set_xlim(*_accuracy_limits(np.concatenate(drawn)))
    _chance(ax, guess)
    ax.set_xlabel("test accuracy")
    ax.xaxis.set_major_locator(even_ticks(style.row_ticks))
    scheme_axis(ax, shown, "finished", counts, style)
    return ax


def _accuracy_limits(values: Floats) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    pad = 0.06 * (high - low) or 0.01
    return low - pad, high + pad


def _chance(ax: Axes, guess: float) -> None:
    low, high = ax.get_xlim()
    if low <= guess <= high:
        ax.axvline(guess, **REFERENCE, zorder=1)
        return
    below = guess < low
    said = f"← chance {guess:.3f}" if below else f"chance {guess:.3f} →"
    how: dict[str, Any] = {"transform": ax.transAxes, "va": "bottom", "color": REFERENCE_COLOUR}
    ax.text(0.0 if below else 1.0, 1.01, said, ha="left" if below else "right", **how)


def _lane(ax: Axes) -> Lane:
    """Make an axis of steps longer by a grey lane, and return where on x its two files of marks stand."""
    low, high = ax.get_xlim()
    scale = ax.xaxis.get_transform()
    left, right = scale.transform(np.array([low, high]))
    lane = right + LANE * (right - left) * np.array([0.0, 0.28, 0.72, 1.0])
    start, first, second, end = (float(x) for x in scale.inverted().transform(lane))
    ax.axvspan(start, end, color="#EFEFEF", linewidth=0, zorder=0)
    ax.set_xlim(low, end)
    return first, second


def _beside_label(ax: Axes, said: str) -> None:
    """Write below the right end of x, at the height of its label."""
    below = -11 - 1.2 * FontProperties(size=ax.xaxis.label.get_fontsize()).get_size_in_points()
    ax.annotate(said, (1, 0), (0, below), xycoords="axes fraction", textcoords="offset points", ha="right", va="top")


def _arrivals(ax: Axes, trials: pd.DataFrame, row: int, look: Look, lane: Lane) -> None:
    reached = trials["steps_to_target"].notna().to_numpy(dtype=bool)
    diverged = ~reached & (trials["outcome"] == "diverged").to_numpy(dtype=bool)
    steps = trials["steps_to_target"].fillna(trials["steps"]).to_numpy(dtype=np.float64)
    drawn = trials.iloc[:SEEDS_DRAWN]
    x = np.where(reached, steps, np.where(np.arange(len(trials)) % 2, lane[1], lane[0]))
    y = row + spread(len(drawn))
    dot: dict[str, Any] = {"marker": "o", "markersize": 4.1, "markeredgecolor": "white", "markeredgewidth": 0.4}
    kept: dict[str, Any] = {"marker": ">", "markersize": 4.5, "markerfacecolor": "none", "markeredgewidth": 1.0}
    lost: dict[str, Any] = {"marker": "x", "markersize": 4.5, "markeredgewidth": 1.0}
    names = seed_names(drawn, look, "arrival").values()
    for place, name in enumerate(names):
        how = dot if reached[place] else lost if diverged[place] else kept
        ax.plot(x[place], y[place], color=look.colour, zorder=3, gid=name, **how)
    median = censored_median(steps, reached)
    if median is not None:
        ends = ([median, median], [row - 0.4, row + 0.4])
        bar: dict[str, Any] = {"linewidth": 5, "alpha": 0.45, "solid_capstyle": "butt", "zorder": 2}
        ax.plot(*ends, color=look.colour, gid=f"{look.gid}.median", **bar)


def _accuracies(ax: Axes, trials: pd.DataFrame, row: int, look: Look) -> Floats:
    """Draw one row and return all that its axis must hold."""
    values: Floats = trials["test_accuracy"].to_numpy(dtype=np.float64)
    drawn = trials.iloc[:SEEDS_DRAWN]
    heights = row + 0.12 + 0.75 * spread(len(drawn))
    dot: dict[str, Any] = {"marker": "o", "markersize": 3.7, "alpha": 0.45, "markeredgewidth": 0}
    for x, y, name in zip(drawn["test_accuracy"], heights, seed_names(drawn, look, "accuracy").values(), strict=True):
        ax.plot(x, y, color=look.colour, gid=name, **dot)
    estimate = mean_interval(values)
    if estimate.mean is None:
        return values
    half = estimate.half or 0.0
    ends = np.clip([estimate.mean - half, estimate.mean + half], 0.0, 1.0)
    reach = None if estimate.half is None else [[estimate.mean - ends[0]], [ends[1] - estimate.mean]]
    how: dict[str, Any] = {"color": look.colour, "markersize": 5, "elinewidth": 1.8, "capsize": 4}
    named(ax.errorbar([estimate.mean], [row - 0.24], xerr=reach, fmt="D", zorder=4, **how), look)
    held: Floats = np.r_[values, ends]
    return held
