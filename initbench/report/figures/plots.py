"""The plots: data and axes in, axes out. Frames are those of one setting, looks those of all schemes.

Everything drawn of one scheme has an id that says whose it is, `scheme<index>.<what>`, of one seed
`scheme<index>.seed<seed>.<what>`: in an SVG a page can hide a scheme and name a seed.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.container import ErrorbarContainer
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from initbench.analysis.statistics.aggregate import Profile
from initbench.analysis.statistics.intervals import Floats, censored_median, geometric_band, mean_band, mean_interval
from initbench.analysis.statistics.survival import survival_curve
from initbench.report.figures.axes import (
    PLAIN,
    fit_y,
    layer_axis,
    scheme_axis,
    spread,
    step_axis,
    within_window,
    write_note,
)
from initbench.report.figures.style import BAND_ALPHA, REFERENCE_COLOUR, SCREEN, SEED_ALPHA, Look, Style

SEEDS_DRAWN = 20  # of a scheme, as lines, dots and crosses of their own; means, medians and bands are of all

Looks = Mapping[str, Look]
Places = Mapping[Any, float]  # where on x each layer, depth or width stands
REFERENCE: dict[str, Any] = {"color": REFERENCE_COLOUR, "linestyle": (0, (4, 3)), "linewidth": 1.1}


def curves(
    ax: Axes, points: pd.DataFrame, column: str, looks: Looks, diverged: frozenset[str], ceiling: float = np.inf
) -> Axes:
    """Draw a column of the curves against step: seeds thin, their mean with its 95 % band, × where one diverged.

    The mean is over all the seeds of a scheme: where the first of them ends, so does the mean. `ceiling` is where the
    caller cuts the axis: a × above it stands there.
    """
    if points.empty:
        return write_note(ax, "no trial has a curve")
    for look, of_scheme in _by_scheme(points, looks):
        by_trial = of_scheme.pivot_table(index="step", columns="trial", values=column, sort=False).sort_index()
        names = _names(of_scheme, look, column)
        _seeds(ax, by_trial, look, names)
        _mean(ax, by_trial.dropna(), look, column)
        _ends(ax, by_trial[[trial for trial in by_trial.columns if trial in diverged]], look, names, ceiling)
    step_axis(ax, int(points["step"].max()))
    return ax


def survival(ax: Axes, trials: pd.DataFrame, looks: Looks) -> Axes:
    """Draw the share of trials not yet at the target against step (Kaplan-Meier), with its pointwise 95 % band.

    The band goes from the first arrival to the last: elsewhere those of all schemes lie over one another. | at the end
    of a curve marks trials that had not reached the target at the end. Failed trials are not drawn.
    """
    budget = int(trials["steps"].max())
    watched = trials[trials["outcome"] != "failed"]
    if watched.empty:
        return write_note(ax, "all trials failed")
    for look, of_scheme in _by_scheme(watched, looks):
        arrived = of_scheme["steps_to_target"].notna().to_numpy(dtype=bool)
        steps = of_scheme["steps_to_target"].astype("float64").fillna(0.0).to_numpy()
        survival = survival_curve(steps, arrived, budget=budget)
        how: dict[str, Any] = {"linestyle": look.dash, "linewidth": look.width, "marker": look.marker, "markersize": 5}
        falls = (survival.share < 1) & (survival.steps <= steps[arrived].max(initial=-1.0))
        how |= {"drawstyle": "steps-post", "markeredgewidth": 0, "markevery": falls.tolist(), "zorder": 3}
        ax.plot(survival.steps, survival.share, color=look.colour, gid=f"{look.gid}.line", **how)
        band: dict[str, Any] = {"step": "post", "alpha": BAND_ALPHA, "linewidth": 0, "gid": f"{look.gid}.band"}
        ax.fill_between(survival.steps[falls], survival.low[falls], survival.high[falls], color=look.colour, **band)
        if not arrived.all():
            tick: dict[str, Any] = {"marker": "|", "markersize": 10, "markeredgewidth": 1.6, "clip_on": False}
            ax.plot(budget, survival.share[-1], color=look.colour, zorder=4, gid=f"{look.gid}.censored", **tick)
    step_axis(ax, budget)
    ax.set_ylim(-0.02, 1.02)
    ax.set_ylabel("share not yet at the target")
    return ax


def steps_to_target(ax: Axes, trials: pd.DataFrame, looks: Looks, style: Style = SCREEN) -> Axes:
    """Draw when each seed reached the target: a dot per seed, at the right if it did not; a bar at the median.

    Failed trials are not drawn: when they would have reached the target is unknown.
    """
    budget = int(trials["steps"].max())
    shown, counts = [], []
    for row, (look, of_scheme) in enumerate(_by_scheme(trials, looks)):
        watched = of_scheme[of_scheme["outcome"] != "failed"]
        shown.append(look)
        counts.append(f"{watched['steps_to_target'].notna().sum()}/{len(watched)}")
        _arrivals(ax, watched, row, look, budget)
    ax.axvspan(1.03 * budget, 1.15 * budget, color="#EFEFEF", linewidth=0, zorder=0)
    ax.set_xlim(-0.02 * budget, 1.15 * budget)
    ax.xaxis.set_major_locator(MaxNLocator(style.row_ticks, steps=[1, 2, 5, 10]))
    ticks = [*(tick for tick in ax.get_xticks() if 0 <= tick <= 0.8 * budget), budget]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.set_xlabel("steps to target", loc="left")
    below = -11 - 1.2 * FontProperties(size=ax.xaxis.label.get_fontsize()).get_size_in_points()  # beside that label
    ax.annotate(
        "not reached", (1, 0), (0, below), xycoords="axes fraction", textcoords="offset points", ha="right", va="top"
    )
    scheme_axis(ax, shown, "reached", counts, style)
    return ax


def final_accuracy(ax: Axes, trials: pd.DataFrame, looks: Looks, guess: float, style: Style = SCREEN) -> Axes:
    """Draw the test accuracy of each finished seed, the mean and its 95 % interval; `guess` is a reference line."""
    shown, counts = [], []
    for row, (look, of_scheme) in enumerate(_by_scheme(trials, looks)):
        values = of_scheme.dropna(subset="test_accuracy")
        shown.append(look)
        counts.append(f"{len(values)}/{len(of_scheme)}")
        _accuracies(ax, values, row, look)
    ax.axvline(guess, **REFERENCE, zorder=1)
    if trials["test_accuracy"].isna().all():
        ax.set_xlim(0, 1)
    ax.set_xlabel("test accuracy")
    ax.xaxis.set_major_locator(MaxNLocator(style.row_ticks, steps=[1, 2, 5, 10]))
    scheme_axis(ax, shown, "finished", counts, style)
    return ax


def signal(ax: Axes, layers: pd.DataFrame, column: str, looks: Looks) -> Axes:
    """Draw a moment at step 0 by layer on a log axis: geometric mean over seeds with its 95 % band, prediction dashed.

    A layer with a moment of exactly 0 has no geometric mean: its line has a gap, and ▼ stands at the foot; × stands at
    the top where a moment is beyond all numbers.
    """
    order = list(layers["layer"].unique())
    lines(ax, layers, column, looks, {layer: place for place, layer in enumerate(order)})
    return layer_axis(ax, order)


def lines(ax: Axes, frame: pd.DataFrame, column: str, looks: Looks, places: Places, *, log: bool = True) -> Axes:
    """Draw a column by layer, a line per scheme: mean over seeds with its 95 % band, `<column>_predicted` dashed.

    On a log axis the mean is geometric. `places` says where on x each layer stands.
    """
    drawn = [_line(ax, of_scheme, column, places, look, log=log) for look, of_scheme in _by_scheme(frame, looks)]
    if drawn and log:
        fit_y(ax, within_window(np.concatenate(drawn)), log=True)
    return ax


def lr_sensitivity(ax: Axes, trials: pd.DataFrame, looks: Looks) -> Axes:
    """Draw the final validation loss against lr: mean over finished trials and its 95 % interval.

    × at the top: some of the scheme's trials diverged at that rate, so the mean below it is over survivors.
    """
    rates = sorted(trials["lr"].unique())
    # Schemes stand side by side at a rate, so that their intervals do not hide each other.
    step = np.diff(np.log(rates)).min() / (5 * len(looks))
    drawn = [
        _rate_line(ax, of_scheme, look, float(np.exp(step * (look.index - (len(looks) - 1) / 2))))
        for look, of_scheme in _by_scheme(trials, looks)
    ]
    ax.set_xscale("log")
    ax.set_xticks(rates)
    ax.minorticks_off()
    ax.xaxis.set_major_formatter(PLAIN)
    ax.set_xlim(rates[0] / 1.4, rates[-1] * 1.4)
    fit_y(ax, np.concatenate(drawn))
    ax.set_xlabel("lr")
    ax.set_ylabel("final validation loss (nats)")
    return ax


def profile(ax: Axes, profiles: Mapping[str, Profile], looks: Looks) -> Axes:
    """Draw the share of each scheme's trials above every test accuracy, with its band; higher is better."""
    for scheme, look in looks.items():
        if scheme not in profiles:
            continue
        profile = profiles[scheme]
        how: dict[str, Any] = {"drawstyle": "steps-post", "linestyle": look.dash, "linewidth": look.width}
        # Elsewhere the marks of all schemes would make one row.
        falls = np.flatnonzero((profile.share > 0) & (profile.share < 1))
        how |= _markers(look) | {"markevery": falls[look.index % 3 :: 6].tolist()}
        ax.plot(profile.thresholds, profile.share, color=look.colour, gid=f"{look.gid}.line", **how)
        if profile.low is not None and profile.high is not None:
            band: dict[str, Any] = {"step": "post", "alpha": BAND_ALPHA, "linewidth": 0}
            ax.fill_between(
                profile.thresholds, profile.low, profile.high, color=look.colour, gid=f"{look.gid}.band", **band
            )
    ax.set_xlim(0, 1)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("test accuracy")
    ax.set_ylabel("share of trials above it")
    return ax


def _by_scheme(frame: pd.DataFrame, looks: Looks) -> Iterator[tuple[Look, pd.DataFrame]]:
    groups = dict(list(frame.groupby("scheme", sort=False)))
    return ((look, groups[scheme]) for scheme, look in looks.items() if scheme in groups)


def _names(trials: pd.DataFrame, look: Look, what: str) -> dict[Any, str]:
    """Return an id for what is drawn of each trial; trials may share a seed, hence the number at the end."""
    seeds = trials.drop_duplicates("trial").set_index("trial")["seed"]
    return {trial: f"{look.gid}.seed{seed}.{what}{number}" for number, (trial, seed) in enumerate(seeds.items())}


def _seeds(ax: Axes, by_trial: pd.DataFrame, look: Look, names: Mapping[Any, str]) -> None:
    """Draw the first seeds: many more would be one blot, of megabytes."""
    how: dict[str, Any] = {"colors": look.colour, "linewidths": 0.6, "alpha": SEED_ALPHA}
    for trial, series in by_trial.iloc[:, :SEEDS_DRAWN].items():
        line = series.dropna()
        segment = np.column_stack([line.index.to_numpy(), line.to_numpy()])
        ax.add_collection(LineCollection([segment], gid=names[trial], **how), autolim=False)


def _mean(ax: Axes, complete: pd.DataFrame, look: Look, column: str) -> None:
    if complete.empty:
        return
    steps = complete.index.to_numpy()
    mean, half = mean_band(complete.to_numpy(dtype=np.float64).T)
    how: dict[str, Any] = {"linestyle": look.dash, "linewidth": look.width, "zorder": 3, **_markers(look)}
    ax.plot(steps, mean, color=look.colour, gid=f"{look.gid}.line.{column}", **how)
    if half is not None:
        band: dict[str, Any] = {"alpha": BAND_ALPHA, "linewidth": 0, "gid": f"{look.gid}.band.{column}"}
        ax.fill_between(steps, mean - half, mean + half, color=look.colour, **band)


def _markers(look: Look) -> dict[str, Any]:
    """Put each scheme's markers on points of their own, so that lines that coincide show the markers of both."""
    return {"marker": look.marker, "markersize": 5, "markevery": (look.index % 6, 6), "markeredgewidth": 0}


def _ends(ax: Axes, by_trial: pd.DataFrame, look: Look, names: Mapping[Any, str], ceiling: float) -> None:
    how: dict[str, Any] = {"marker": "x", "s": 34, "linewidths": 1.6, "zorder": 4, "clip_on": False}
    for trial, series in by_trial.iloc[:, :SEEDS_DRAWN].items():
        last = series.dropna().iloc[-1:]
        ax.scatter(last.index, last.clip(upper=ceiling), color=look.colour, gid=f"{names[trial]}.end", **how)


def _arrivals(ax: Axes, trials: pd.DataFrame, row: int, look: Look, budget: int) -> None:
    reached = trials["steps_to_target"].notna().to_numpy(dtype=bool)
    diverged = ~reached & (trials["outcome"] == "diverged").to_numpy(dtype=bool)
    steps = trials["steps_to_target"].fillna(trials["steps"]).to_numpy(dtype=np.float64)
    zone = budget * np.where(np.arange(len(trials)) % 2, 1.115, 1.065)
    drawn = trials.iloc[:SEEDS_DRAWN]
    x, y = np.where(reached, steps, zone), row + spread(len(drawn))
    dot: dict[str, Any] = {"marker": "o", "markersize": 4.1, "markeredgecolor": "white", "markeredgewidth": 0.4}
    kept: dict[str, Any] = {"marker": ">", "markersize": 4.5, "markerfacecolor": "none", "markeredgewidth": 1.0}
    lost: dict[str, Any] = {"marker": "x", "markersize": 4.5, "markeredgewidth": 1.0}
    names = _names(drawn, look, "arrival").values()
    for place, name in enumerate(names):
        how = dot if reached[place] else lost if diverged[place] else kept
        ax.plot(x[place], y[place], color=look.colour, zorder=3, gid=name, **how)
    median = censored_median(steps, reached)
    if median is not None:
        ends = ([median, median], [row - 0.4, row + 0.4])
        bar: dict[str, Any] = {"linewidth": 5, "alpha": 0.45, "solid_capstyle": "butt", "zorder": 2}
        ax.plot(*ends, color=look.colour, gid=f"{look.gid}.median", **bar)


def _accuracies(ax: Axes, trials: pd.DataFrame, row: int, look: Look) -> None:
    values = trials["test_accuracy"].to_numpy(dtype=np.float64)
    drawn = trials.iloc[:SEEDS_DRAWN]
    heights = row + 0.12 + 0.75 * spread(len(drawn))
    dot: dict[str, Any] = {"marker": "o", "markersize": 3.7, "alpha": 0.45, "markeredgewidth": 0}
    for x, y, name in zip(drawn["test_accuracy"], heights, _names(drawn, look, "accuracy").values(), strict=True):
        ax.plot(x, y, color=look.colour, gid=name, **dot)
    estimate = mean_interval(values)
    if estimate.mean is None:
        return
    how: dict[str, Any] = {"color": look.colour, "markersize": 5, "elinewidth": 1.8, "capsize": 4}
    _named(ax.errorbar([estimate.mean], [row - 0.24], xerr=estimate.half, fmt="D", zorder=4, **how), look)


def _named(bars: ErrorbarContainer, look: Look) -> None:
    """Give ids to the parts of error bars, to which matplotlib hands none on."""
    for number, part in enumerate(bars.get_children()):
        part.set_gid(f"{look.gid}.mean{number}")


def _line(ax: Axes, frame: pd.DataFrame, column: str, places: Places, look: Look, *, log: bool) -> Floats:
    by_seed = frame.groupby(["seed", "layer"], sort=False)[column].mean().unstack()  # noqa: PD010 - keeps empty rows
    values = by_seed.reindex(columns=list(places)).to_numpy(dtype=np.float64)
    x = np.array(list(places.values()), dtype=np.float64)
    known = (np.isfinite(values) & ((values > 0) | (not log))).all(axis=0)
    mean, low, high = _band(np.where(known, values, 1.0), log=log)
    mean = np.where(known, mean, np.nan)
    marks: dict[str, Any] = {"marker": look.marker, "markersize": 5, "markeredgewidth": 0}
    marks["markevery"] = _some(look, len(x))
    marks["gid"] = f"{look.gid}.line.{column}"
    ax.plot(x, mean, color=look.colour, linestyle=look.dash, linewidth=look.width, **marks)
    if low is not None and high is not None:
        band: dict[str, Any] = {"alpha": BAND_ALPHA, "linewidth": 0, "gid": f"{look.gid}.band.{column}"}
        ax.fill_between(x, low, high, where=known, color=look.colour, **band)
    if log:
        _edge_marks(ax, x, (values == 0).any(axis=0), "v", look, f"zero.{column}")
        _edge_marks(ax, x, (~np.isfinite(values)).any(axis=0), "x", look, f"none.{column}")
    return np.concatenate([mean, _predicted_line(ax, frame, f"{column}_predicted", places, look, log=log)])


def _band(values: Floats, *, log: bool) -> tuple[Floats, Floats | None, Floats | None]:
    if log:
        return geometric_band(values)
    mean, half = mean_band(values)
    return (mean, None, None) if half is None else (mean, mean - half, mean + half)


def _some(look: Look, count: int) -> tuple[int, int]:
    """Return a first place and a step: every place while marks have room, then some, each scheme's its own."""
    every = max(1, -(-count // 24))
    return look.index % every, every


def _edge_marks(ax: Axes, x: Floats, where: NDArray[np.bool_], marker: str, look: Look, what: str) -> None:
    """Put marks for what has no place on the axis at its foot (▼) or top (×), schemes side by side within a place."""
    first, every = _some(look, len(x))
    marked = x[first::every][where[first::every]]
    aside = 0.05 * (look.index % 8 - 3.5)
    beside = marked * (1 + aside / 2) if ax.get_xscale() == "log" else marked + aside
    how: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False, "zorder": 5, "linewidths": 1.2}
    how["gid"] = f"{look.gid}.{what}"
    ax.scatter(beside, np.full(len(marked), float(marker == "x")), marker=marker, s=22, color=look.colour, **how)


def _predicted_line(ax: Axes, frame: pd.DataFrame, column: str, places: Places, look: Look, *, log: bool) -> Floats:
    if column not in frame:
        return np.array([])
    by_layer = frame.groupby("layer", sort=False)[column].mean().reindex(list(places)).to_numpy(dtype=np.float64)
    predicted = np.where((by_layer > 0) | (not log), by_layer, np.nan)
    how: dict[str, Any] = {"linestyle": (0, (2, 2)), "linewidth": 1.0, "alpha": 0.8, "gid": f"{look.gid}.{column}"}
    ax.plot(list(places.values()), predicted, color=look.colour, **how)
    return predicted


def _rate_line(ax: Axes, trials: pd.DataFrame, look: Look, aside: float) -> Floats:
    by_rate = [(float(str(rate)), of_rate) for rate, of_rate in trials.groupby("lr")]
    finished = [of_rate["final_val_loss"].dropna().to_numpy(dtype=np.float64) for _, of_rate in by_rate]
    estimates = [mean_interval(values) for values in finished]
    rates = aside * np.array([rate for rate, _ in by_rate])
    means = np.array([np.nan if e.mean is None else e.mean for e in estimates])
    halves = np.array([np.nan if e.half is None else e.half for e in estimates])
    how: dict[str, Any] = {"color": look.colour, "marker": look.marker, "markersize": 5, "capsize": 3, "elinewidth": 1}
    _named(ax.errorbar(rates, means, yerr=halves, linestyle=look.dash, linewidth=look.width, **how), look)
    lost = rates[[bool((of_rate["outcome"] == "diverged").any()) for _, of_rate in by_rate]]
    top: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False}
    ax.scatter(lost, np.ones(len(lost)), marker="x", s=24, color=look.colour, gid=f"{look.gid}.diverged", **top)
    return np.concatenate([means, *finished])
