"""Figures of a comparison, one file per setting, as PNG and SVG with the same bytes in every run."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from initbench.analysis import plots
from initbench.analysis.across import Across
from initbench.analysis.axes import (
    Entry,
    fit_y,
    legend,
    line_count,
    log_pays,
    mark_entry,
    reference_entry,
    scheme_entry,
)
from initbench.analysis.comparison import Comparison
from initbench.analysis.drawing import Picture, house_style, moments, sheet, titled
from initbench.analysis.panels import Panel
from initbench.analysis.settings import suffixes, within
from initbench.analysis.statistics import Floats
from initbench.analysis.style import PNG_DPI, Look, looks
from initbench.analysis.summary import SETTING
from initbench.analysis.text import printable

# A step of a bad start can cost 1e5 nats for once; beyond ten times the loss of a uniform guess the axis is cut, and
# says so, to keep what happens later readable.
CEILING = 10.0


@dataclass(frozen=True)
class View:
    """What a figure shows: some trials of a comparison, and the title that says which."""

    comparison: Comparison
    title: str
    trials: pd.DataFrame
    panel: Panel | None = None

    @cached_property
    def looks(self) -> plots.Looks:
        """The looks of all schemes that were asked for, so that none changes from figure to figure.

        Where each scheme has an lr of its own, its label says which.
        """
        of_all = looks_of(self.comparison)
        if self.panel is None or self.panel.rule != "own lr":
            return of_all
        rates = self.panel.rates
        return {s: replace(look, label=f"{look.label}, lr {rates[s]:g}") for s, look in of_all.items() if s in rates}

    @property
    def present(self) -> plots.Looks:
        """The looks of the schemes that have trials here."""
        here = set(self.trials["scheme"].unique())
        return {scheme: look for scheme, look in self.looks.items() if scheme in here}

    @cached_property
    def points(self) -> pd.DataFrame:
        """The points of these trials."""
        return self._of(self.comparison.curves)

    @cached_property
    def layers(self) -> pd.DataFrame:
        """The layers of these trials."""
        return self._of(self.comparison.layers)

    @property
    def diverged(self) -> frozenset[str]:
        """The ids of these trials that diverged."""
        return frozenset(self.trials.loc[self.trials["outcome"] == "diverged", "trial"])

    def _of(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["trial"].isin(self.trials["trial"])]


def pictures(comparison: Comparison) -> Iterator[Picture]:
    """Draw every figure, one after the other: those of a panel, then across settings, signals, sensitivity to lr."""
    panels = comparison.panels
    for panel, suffix in zip(panels, suffixes([panel.key for panel in panels]), strict=True):
        view = View(comparison, printable(str(panel)), panel.rows(comparison.trials), panel)
        for draw in (_loss, *[_loss_linear] * log_pays(_losses(view)), _accuracy, _steps, _final):
            yield _drawn(draw, view, suffix)
    yield from _profiles(comparison)
    yield from _signals(comparison, panels)
    yield from _rates(comparison, panels)


def looks_of(comparison: Comparison) -> dict[str, Look]:
    """Return the looks of the schemes that were asked for and of any other that has trials."""
    present = (scheme for of in (comparison.trials, comparison.tuning_trials) for scheme in of["scheme"].unique())
    schemes = dict.fromkeys((*comparison.schemes, *present))
    return looks(tuple(schemes), comparison.baseline)


def _profiles(comparison: Comparison) -> Iterator[Picture]:
    """Draw what share of each scheme's trials is above every accuracy, over all settings that are alike."""
    rules = [(of.panels[0].rule,) for of in comparison.across]
    for of, suffix in zip(comparison.across, suffixes(rules), strict=True):
        title = f"{len(of.panels)} settings: " + "; ".join(map(str, of.panels))
        view = View(comparison, printable(title), comparison.trials)
        yield _drawn(lambda view, of=of: _profile(view, of), view, suffix)  # type: ignore[misc] # bound now


def _signals(comparison: Comparison, panels: Sequence[Panel]) -> Iterator[Picture]:
    """Draw the signal at step 0, which no optimizer has touched: once per dataset and model."""
    keys = list(dict.fromkeys(panel.place[:2] for panel in panels))
    for key, suffix in zip(keys, suffixes(keys), strict=True):
        view = _view(comparison, comparison.trials, key)
        if not view.layers.empty:
            yield _drawn(_signal, view, suffix)


def _rates(comparison: Comparison, panels: Sequence[Panel]) -> Iterator[Picture]:
    """Draw sensitivity to lr from the tuning trials where there are any: scoring trials are at chosen rates only."""
    tuned = {(choice.dataset, choice.model, choice.optimizer) for choice in comparison.choices}
    keys = list(dict.fromkeys(panel.place for panel in panels))
    for key, suffix in zip(keys, suffixes(keys), strict=True):
        view = _view(comparison, comparison.tuning_trials if key in tuned else comparison.trials, key)
        if len(set(view.trials["lr"])) > 1:
            yield _drawn(_lr, view, suffix)


def _view(comparison: Comparison, trials: pd.DataFrame, key: Sequence[str]) -> View:
    return View(comparison, printable(", ".join(key)), within(trials, SETTING[: len(key)], key))


def _drawn(draw: Callable[[View], tuple[str, str, Figure]], view: View, suffix: str) -> Picture:
    with house_style():
        kind, caption, figure = draw(view)
        return titled(kind + suffix, caption, view.title, figure)


def _loss(view: View) -> tuple[str, str, Figure]:
    return "loss", "Loss against step", _losses_drawn(view, log=log_pays(_losses(view)))


def _loss_linear(view: View) -> tuple[str, str, Figure]:
    """Draw the loss on a linear axis as well, where `_loss` is on a logarithmic one."""
    return "loss_linear", "Loss against step, linear", _losses_drawn(view, log=False)


def _losses(view: View) -> Floats:
    """Return the losses that an axis must hold and that of a uniform guess, cut at `CEILING` times the latter."""
    guess = math.log(_classes(view))
    losses = view.points[["train_loss", "val_loss"]].to_numpy(dtype=np.float64)
    cut: Floats = np.minimum(np.append(losses, guess), CEILING * guess)
    return cut


def _losses_drawn(view: View, *, log: bool) -> Figure:
    classes = _classes(view)
    entries = [*_curve_entries(view), reference_entry(f"ln {classes} = {math.log(classes):.3f}, a uniform guess")]
    figure, axes = sheet(2, entries, _band_title(view), width=11.5)
    points = view.points
    ceiling = CEILING * math.log(classes)
    for ax, column, name in zip(axes, ("train_loss", "val_loss"), ("training", "validation"), strict=True):
        plots.curves(ax, points, column, view.looks, view.diverged, ceiling)
        ax.axhline(math.log(classes), **plots.REFERENCE, zorder=2.5)
        fit_y(ax, _losses(view), log=log)
        cut = f", cut: the highest is {points[column].max():.3g}" if (points[column] > ceiling).any() else ""
        ax.set_title(f"{name} loss (nats){cut}", loc="left")
    axes[1].tick_params(labelleft=False)
    return figure


def _accuracy(view: View) -> tuple[str, str, Figure]:
    target = _target(view)
    entries = [*_curve_entries(view), reference_entry(f"target {target:g}")]
    figure, (ax,) = sheet(1, entries, _band_title(view), width=8.8)
    plots.curves(ax, view.points, "val_accuracy", view.looks, view.diverged)
    ax.axhline(target, **plots.REFERENCE, zorder=2.5)
    ax.set_ylim(-0.02, 1.02)
    ax.set_ylabel("validation accuracy")
    return "accuracy", "Validation accuracy against step", figure


def _steps(view: View) -> tuple[str, str, Figure]:
    entries = [
        mark_entry("o", "one seed", markersize=4),
        mark_entry(">", "not reached by the end", markerfacecolor="none"),
        mark_entry("x", "diverged before it reached"),
        mark_entry("|", "Kaplan-Meier median", markersize=12, markeredgewidth=3),
    ]
    figure, ax = _rows_sheet(view, entries)
    plots.steps_to_target(ax, view.trials, view.looks)
    return "steps_to_target", f"Steps to validation accuracy {_target(view):g}", figure


def _final(view: View) -> tuple[str, str, Figure]:
    here = set(view.trials["trial"])
    guess = next(record.data.guess for record in view.comparison.records if record.trial.id in here)
    entries = [
        mark_entry("o", "one seed", markersize=4, alpha=0.5),
        mark_entry("D", "mean and its 95 % t interval", markersize=6),
        reference_entry(f"most frequent class: {guess:.3f}"),
    ]
    figure, ax = _rows_sheet(view, entries)
    plots.final_accuracy(ax, view.trials, view.looks, guess)
    return "final_accuracy", "Test accuracy after training", figure


def _signal(view: View) -> tuple[str, str, Figure]:
    return "signal", "Signal at step 0 by layer", moments(view.layers, view.looks)


def _lr(view: View) -> tuple[str, str, Figure]:
    entries = [scheme_entry(look) for look in view.present.values()]
    entries.append(mark_entry("x", "some trials diverged at this lr"))
    tuning = "\n(tuning seeds)" if set(view.trials["trial"]) - set(view.comparison.trials["trial"]) else ""
    told = f"mean over finished trials and its 95 % t\ninterval; schemes of one lr side by side{tuning}"
    figure, (ax,) = sheet(1, entries, told, width=8.8)
    plots.lr_sensitivity(ax, view.trials, view.looks)
    return "lr", "Final validation loss against lr", figure


def _profile(view: View, of: Across) -> tuple[str, str, Figure]:
    entries = [scheme_entry(look) for scheme, look in view.looks.items() if scheme in of.scores]
    band = f"band: pointwise 95 % bootstrap, n = {of.seeds}\nseeds or more in each of {len(of.panels)} settings"
    figure, (ax,) = sheet(1, entries, band, width=8.8)
    plots.profile(ax, of.profiles, view.looks)
    return "profile", "Share of trials above each test accuracy", figure


def _curve_entries(view: View) -> list[Entry]:
    """Name the schemes, and how many of the trials of each diverged."""
    entries = []
    for scheme, look in view.present.items():
        outcome = view.trials.loc[view.trials["scheme"] == scheme, "outcome"]
        lost = int((outcome == "diverged").sum())
        entries.append(scheme_entry(look, f" ({lost} of {len(outcome)} diverged)" if lost else ""))
    crosses = [mark_entry("x", "diverged: the curve ends")] if view.diverged else []
    return [*entries, *crosses]


def _band_title(view: View) -> str:
    sizes = view.points.groupby("scheme")["trial"].nunique()
    low, high = (int(sizes.min()), int(sizes.max())) if len(sizes) else (0, 0)
    if high < 2:
        return "line: the one seed"
    n = f"{low}" if low == high else f"{low} to {high}"
    thin = "seeds" if high <= plots.SEEDS_DRAWN else f"{plots.SEEDS_DRAWN} seeds"
    mean = "their mean" if high <= plots.SEEDS_DRAWN else "mean of all"
    return f"thin: {thin}; thick: {mean}, while all last;\nband: 95 % t interval of the mean, n = {n} seeds"


def _classes(view: View) -> int:
    datasets = set(view.trials["dataset"].unique())
    return next(record.data.classes for record in view.comparison.records if record.trial.dataset in datasets)


def _target(view: View) -> float:
    here = set(view.trials["trial"])
    return next(view.comparison.target_of(r) for r in view.comparison.records if r.trial.id in here)


def _rows_sheet(view: View, entries: Sequence[Entry]) -> tuple[Figure, Axes]:
    """Return a figure with a row per scheme and its legend below."""
    labels = [look.label for look in view.present.values()]
    height = 1.5 + max(0.4 * len(labels), 0.22 * line_count(labels))
    figure = Figure(figsize=(8.2, height), dpi=PNG_DPI, layout="constrained")
    legend(figure, entries, "", below=True)
    return figure, figure.subplots()
