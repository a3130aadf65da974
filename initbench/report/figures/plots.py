"""The plots: data and axes in, axes out. Frames are those of one setting, looks those of all schemes.

Everything drawn of one scheme has an id that says whose it is, `scheme<index>.<what>`, of one seed
`scheme<index>.seed<seed>.<what>`: in an SVG a page can hide a scheme and name a seed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.container import ErrorbarContainer
from numpy.typing import NDArray

from initbench.analysis.statistics.aggregate import Profile
from initbench.analysis.statistics.intervals import Floats, geometric_band, mean_band, mean_interval
from initbench.analysis.statistics.survival import survival_curve
from initbench.report.figures.axes import (
    PLAIN,
    cut_above,
    even_ticks,
    fit_y,
    layer_axis,
    step_axis,
    within_window,
    write_note,
)
from initbench.report.figures.style import BAND_ALPHA, REFERENCE_COLOUR, SEED_ALPHA, Look

SEEDS_DRAWN = 20  # of a scheme, as lines, dots and crosses of their own; means, medians and bands are of all

Looks = Mapping[str, Look]
Bounds = tuple[float, float]  # of what a column can be: a band is cut there
Places = Mapping[Any, float]  # where on x each layer, depth or width stands
REFERENCE: dict[str, Any] = {"color": REFERENCE_COLOUR, "linestyle": (0, (4, 3)), "linewidth": 1.1}


@dataclass(frozen=True)
class Curve:
    """How a column of the curves is drawn.

    `bounds` cut its bands. `ceiling` is where the caller cuts the axis: a × above it stands there. `seeds` says whether
    seeds are drawn; `mark` tells the ids of one panel from those of another with the same column.
    """

    column: str
    bounds: Bounds
    ceiling: float = np.inf
    seeds: bool = True
    mark: str = ""


def curves(ax: Axes, points: pd.DataFrame, curve: Curve, looks: Looks, diverged: frozenset[str]) -> Axes:
    """Draw a column of the curves against step: seeds thin, their mean with its 95 % band, × where one diverged.

    The mean is over all the seeds of a scheme: where the first of them ends, so does the mean.
    """
    if points.empty:
        return write_note(ax, "no trial has a curve")
    for look, of_scheme in by_scheme(points, looks):
        by_trial = of_scheme.pivot_table(index="step", columns="trial", values=curve.column, sort=False).sort_index()
        names = seed_names(of_scheme, look, curve.column + curve.mark)
        if curve.seeds:
            _seeds(ax, by_trial, look, names)
        _mean(ax, by_trial.dropna(), look, curve)
        lost = by_trial[[trial for trial in by_trial.columns if trial in diverged]]
        _ends(ax, lost, look, names, curve.ceiling)
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
    for look, of_scheme in by_scheme(watched, looks):
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
    drawn = [_line(ax, of_scheme, column, places, look, log=log) for look, of_scheme in by_scheme(frame, looks)]
    if drawn and log:
        fit_y(ax, within_window(np.concatenate(drawn)), log=True)
    return ax


def lr_sensitivity(ax: Axes, trials: pd.DataFrame, looks: Looks, ceiling: float, said: str) -> Axes:
    """Draw the final validation loss against lr: mean over finished trials and its 95 % interval.

    The axis is cut at `ceiling`, and says so in these words.

    × at the top: some of the scheme's trials diverged at that rate, so the mean below it is over survivors.
    """
    rates = sorted(trials["lr"].unique())
    # Schemes stand side by side at a rate, so that their intervals do not hide each other.
    step = np.diff(np.log(rates)).min() / (5 * len(looks))
    drawn = [
        _rate_line(ax, of_scheme, look, float(np.exp(step * (look.index - (len(looks) - 1) / 2))))
        for look, of_scheme in by_scheme(trials, looks)
    ]
    ax.set_xscale("log")
    ax.set_xticks(rates)
    ax.minorticks_off()
    ax.xaxis.set_major_formatter(PLAIN)
    ax.set_xlim(rates[0] / 1.4, rates[-1] * 1.4)
    losses = np.concatenate(drawn)
    fit_y(ax, np.minimum(losses, ceiling))
    ax.set_title(cut_above(losses, ceiling, said), loc="left")
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
        how |= _markers(look, len(falls)) | {"markevery": falls[look.index % 3 :: 6].tolist()}
        ax.plot(profile.thresholds, profile.share, color=look.colour, gid=f"{look.gid}.line", **how)
        if profile.low is not None and profile.high is not None:
            band: dict[str, Any] = {"step": "post", "alpha": BAND_ALPHA, "linewidth": 0}
            ax.fill_between(
                profile.thresholds, profile.low, profile.high, color=look.colour, gid=f"{look.gid}.band", **band
            )
    ax.set_xlim(*_where_shares_change(profiles))
    ax.set_ylim(-0.02, 1.02)
    ax.xaxis.set_major_locator(even_ticks(8))
    ax.set_xlabel("test accuracy")
    ax.set_ylabel("share of trials above it")
    return ax


def _where_shares_change(profiles: Mapping[str, Profile]) -> Bounds:
    """Return the accuracies between the worst trial of all schemes and the best."""
    between = [profile.thresholds[(profile.share < 1) & (profile.share > 0)] for profile in profiles.values()]
    changes = np.concatenate(between) if between else np.array([])
    if not len(changes):
        return 0.0, 1.0
    pad = 0.06 * float(np.ptp(changes)) or 0.01
    return max(0.0, float(changes.min()) - pad), min(1.0, float(changes.max()) + pad)


def by_scheme(frame: pd.DataFrame, looks: Looks) -> Iterator[tuple[Look, pd.DataFrame]]:
    """Yield the rows of each scheme with its look, in the order of the looks."""
    groups = dict(list(frame.groupby("scheme", sort=False)))
    return ((look, groups[scheme]) for scheme, look in looks.items() if scheme in groups)


def seed_names(trials: pd.DataFrame, look: Look, what: str) -> dict[Any, str]:
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


def _mean(ax: Axes, complete: pd.DataFrame, look: Look, curve: Curve) -> None:
    if complete.empty:
        return
    steps = complete.index.to_numpy()
    mean, half = mean_band(complete.to_numpy(dtype=np.float64).T)
    name = curve.column + curve.mark
    how: dict[str, Any] = {"linestyle": look.dash, "linewidth": look.width, "zorder": 3, **_markers(look, len(steps))}
    ax.plot(steps, mean, color=look.colour, gid=f"{look.gid}.line.{name}", **how)
    if half is not None:
        band: dict[str, Any] = {"alpha": BAND_ALPHA, "linewidth": 0, "gid": f"{look.gid}.band.{name}"}
        ax.fill_between(steps, *np.clip([mean - half, mean + half], *curve.bounds), color=look.colour, **band)


def _markers(look: Look, points: int) -> dict[str, Any]:
    """Put each scheme's markers on points of their own, so that lines that coincide show the markers of both."""
    every = max(1, min(6, points // 3))
    return {"marker": look.marker, "markersize": 5, "markevery": (look.index % every, every), "markeredgewidth": 0}


def _ends(ax: Axes, by_trial: pd.DataFrame, look: Look, names: Mapping[Any, str], ceiling: float) -> None:
    how: dict[str, Any] = {"marker": "x", "s": 34, "linewidths": 1.6, "zorder": 4, "clip_on": False}
    for trial, series in by_trial.iloc[:, :SEEDS_DRAWN].items():
        last = series.dropna().iloc[-1:]
        ax.scatter(last.index, last.clip(upper=ceiling), color=look.colour, gid=f"{names[trial]}.end", **how)


def named(bars: ErrorbarContainer, look: Look) -> None:
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
    # What is drawn on a linear axis by layer is a cosine.
    return (mean, None, None) if half is None else (mean, np.maximum(mean - half, -1.0), np.minimum(mean + half, 1.0))


def _some(look: Look, count: int) -> tuple[int, int]:
    """Return a first place and a step: every place while marks have room, then some, each scheme's its own."""
    every = max(1, -(-count // 24))
    return look.index % every, every


def _edge_marks(ax: Axes, x: Floats, where: NDArray[np.bool_], marker: str, look: Look, what: str) -> None:
    """Put marks for what has no place on the axis at its foot (▼) or top (×), schemes side by side within a place."""
    first, every = _some(look, len(x))
    marked = x[first::every][where[first::every]]
    if not len(marked):
        return  # an artist without marks would still be laid out and drawn
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
    named(ax.errorbar(rates, means, yerr=halves, linestyle=look.dash, linewidth=look.width, **how), look)
    lost = rates[[bool((of_rate["outcome"] == "diverged").any()) for _, of_rate in by_rate]]
    top: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False}
    ax.scatter(lost, np.ones(len(lost)), marker="x", s=24, color=look.colour, gid=f"{look.gid}.diverged", **top)
    return np.concatenate([means, *finished])
