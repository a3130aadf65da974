"""Figures of a comparison, one per kind and setting, with the same bytes in every run."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import CARETLEFT

from initbench.analysis.across import Across
from initbench.analysis.panels import Panel, suffixes, within
from initbench.analysis.results import Results
from initbench.analysis.statistics.intervals import Floats
from initbench.analysis.summary import SETTING
from initbench.core.text import printable
from initbench.records.recipe import Place
from initbench.report.figures import plots, rows
from initbench.report.figures.axes import (
    Entry,
    cut_above,
    fit_y,
    late_axis,
    legend,
    log_pays,
    mark_entry,
    most_lines,
    reference_entry,
    scheme_entry,
)
from initbench.report.figures.coincide import coincidence
from initbench.report.figures.labels import label_ends
from initbench.report.figures.leading import leading_kind
from initbench.report.figures.picture import Picture, explain, finished_picture, house_style, moments, panel_figure
from initbench.report.figures.style import SCREEN, Look, Style, looks

# A step of a bad start can cost 1e5 nats for once. So that no scheme flattens the others, an axis of loss is cut at so
# many times the loss of a uniform guess, and says so.
CEILING, LINEAR_CEILING = 10.0, 2.0
# The second half of training has a panel of its own where accuracies there take less than this share of the axis.
FLAT = 1 / 3


Draw = Callable[["View"], tuple[str, str, Figure]]  # the kind of a figure, its caption and itself
Drawing = tuple[Draw, "View", str]  # with the suffix of its name


@dataclass(frozen=True)
class View:
    """What a figure shows: some trials of a comparison, and the title that says which."""

    comparison: Results
    title: str
    trials: pd.DataFrame
    panel: Panel | None = None
    style: Style = SCREEN

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
    def seeds_drawn(self) -> bool:
        """Whether each seed has a line of its own."""
        return len(self.present) <= self.style.seeds_up_to

    @property
    def diverged(self) -> frozenset[str]:
        """The ids of these trials that diverged."""
        return frozenset(self.trials.loc[self.trials["outcome"] == "diverged", "trial"])

    def _of(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["trial"].isin(self.trials["trial"])]


def pictures(comparison: Results, style: Style = SCREEN) -> Iterator[Picture]:
    """Draw every figure, one after the other: those of a panel, then across settings, signals, sensitivity to lr."""
    return (draw() for draw in drawings(comparison, style))


def drawings(comparison: Results, style: Style = SCREEN) -> Iterator[Callable[[], Picture]]:
    """Yield what draws each figure, in the order of `pictures`."""
    style = _fitting(comparison, style)
    for view, suffix in _settings(comparison, style):
        kinds = (_loss, *[_loss_linear] * log_pays(_losses(view)), _accuracy, _survival, _steps, _final)
        yield from (partial(_drawn, draw, view, suffix) for draw in kinds)
    for draw, view, suffix in chain(_profiles(comparison), _signals(comparison), _rates(comparison)):
        yield partial(_drawn, draw, replace(view, style=style), suffix)


def leading_drawing(comparison: Results, style: Style = SCREEN) -> Callable[[], Picture] | None:
    """Return what draws the figure that stands beside the answer: of the first setting, None where there is none."""
    draw = {"accuracy": _accuracy, "final_accuracy": _final}[leading_kind(comparison)]
    views = _settings(comparison, _fitting(comparison, style))
    return next((partial(_drawn, draw, view, suffix) for view, suffix in views), None)


def _fitting(comparison: Results, style: Style) -> Style:
    return style.for_labels([look.label for look in looks_of(comparison).values()])


def _settings(comparison: Results, style: Style) -> Iterator[tuple[View, str]]:
    """Yield a view of each panel, and the suffix of its figures' names."""
    panels = comparison.panels
    for panel, suffix in zip(panels, suffixes([panel.key for panel in panels]), strict=True):
        yield View(comparison, printable(str(panel)), panel.rows(comparison.trials), panel, style), suffix


def looks_of(comparison: Results) -> dict[str, Look]:
    """Return the looks of the schemes that were asked for and of any other that has trials."""
    present = (scheme for frame in (comparison.trials, comparison.tuning_trials) for scheme in frame["scheme"].unique())
    schemes = dict.fromkeys((*comparison.schemes, *present))
    return looks(tuple(schemes), comparison.baseline)


def _profiles(comparison: Results) -> Iterator[Drawing]:
    """Draw what share of each scheme's trials is above every accuracy, over all settings that are alike."""
    rules = [(aggregate.panels[0].rule,) for aggregate in comparison.across]
    for aggregate, suffix in zip(comparison.across, suffixes(rules), strict=True):
        title = f"{len(aggregate.panels)} settings: " + "; ".join(map(str, aggregate.panels))
        view = View(comparison, printable(title), comparison.trials)
        yield partial(_profile, aggregate=aggregate), view, suffix


def _signals(comparison: Results) -> Iterator[Drawing]:
    """Draw the signal at step 0, which no optimizer has touched: once per dataset and model."""
    keys = list(dict.fromkeys(panel.place[:2] for panel in comparison.panels))
    for key, suffix in zip(keys, suffixes(keys), strict=True):
        view = _view(comparison, comparison.trials, key)
        if not view.layers.empty:
            yield _signal, view, suffix


def _rates(comparison: Results) -> Iterator[Drawing]:
    """Draw sensitivity to lr from the tuning trials where there are any: scoring trials are at chosen rates only."""
    tuned = {rates.place for rates in comparison.tuned_rates}
    keys = list(dict.fromkeys(panel.place for panel in comparison.panels))
    for key, suffix in zip(keys, suffixes(keys), strict=True):
        view = _view(comparison, comparison.tuning_trials if key in tuned else comparison.trials, key)
        if len(set(view.trials["lr"])) > 1:
            yield _lr, view, suffix


def _view(comparison: Results, trials: pd.DataFrame, key: Place | tuple[str, str]) -> View:
    title = str(key) if isinstance(key, Place) else ", ".join(key)
    return View(comparison, printable(title), within(trials, SETTING[: len(key)], key))


def _drawn(draw: Draw, view: View, suffix: str) -> Picture:
    with house_style(view.style):
        kind, caption, figure = draw(view)
        return finished_picture(kind + suffix, caption, view.title, figure, view.style)


def _loss(view: View) -> tuple[str, str, Figure]:
    return "loss", "Loss against step", _losses_drawn(view, log=log_pays(_losses(view)))


def _loss_linear(view: View) -> tuple[str, str, Figure]:
    """Draw the loss on a linear axis as well, where `_loss` is on a logarithmic one."""
    return "loss_linear", "Loss against step, linear", _losses_drawn(view, log=False)


def _losses(view: View, ceiling: float = CEILING) -> Floats:
    """Return the losses that an axis must hold and that of a uniform guess, cut at `ceiling` times the latter."""
    losses = view.points[["train_loss", "val_loss"]].to_numpy(dtype=np.float64)
    cut: Floats = np.minimum(np.append(losses, _guess_loss(view)), ceiling * _guess_loss(view))
    return cut


def _losses_drawn(view: View, *, log: bool) -> Figure:
    figure, axes = panel_figure(2, view.style)
    times, guess = CEILING if log else LINEAR_CEILING, _guess_loss(view)
    ceiling, classes = times * guess, _classes(view)
    for ax, column, name in zip(axes, ("train_loss", "val_loss"), ("training", "validation"), strict=True):
        curve = plots.Curve(column, (0.0, np.inf), ceiling, view.seeds_drawn)
        plots.curves(ax, view.points, curve, view.looks, view.diverged)
        ax.axhline(guess, **plots.REFERENCE, zorder=2.5)
        fit_y(ax, _losses(view, times), log=log)
        cut = cut_above(view.points[column].to_numpy(dtype=np.float64), ceiling, f"{times:g} ln {classes}")
        ax.set_title(f"{name} loss (nats)\n{cut}".rstrip(), loc="left")
    axes[1].tick_params(labelleft=False)
    _explain_curves(view, axes, [reference_entry(f"ln {classes} = {guess:.3f}, a uniform guess")])
    return figure


def _accuracy(view: View) -> tuple[str, str, Figure]:
    target, late = _target(view), _late(view)
    figure, axes = panel_figure(1 if late is None else 2, view.style)
    curve = plots.Curve("val_accuracy", (0.0, 1.0), seeds=view.seeds_drawn)
    plots.curves(axes[0], view.points, curve, view.looks, view.diverged)
    fit_y(axes[0], np.append(view.points["val_accuracy"].to_numpy(dtype=np.float64), target), log=False)
    axes[0].axhline(target, **plots.REFERENCE, zorder=2.5)
    axes[0].set_ylabel("validation accuracy")
    if late is not None:
        plots.curves(axes[1], late, replace(curve, mark=".late"), view.looks, view.diverged)
        late_axis(axes[1], late["step"])
        fit_y(axes[1], late["val_accuracy"].to_numpy(dtype=np.float64), log=False)
        for ax, said in zip(axes, ("all steps", "second half, enlarged"), strict=True):
            ax.set_title(said, loc="left")
    _explain_curves(view, axes, [reference_entry(f"target {target:g}")], " in [0, 1]")
    return "accuracy", "Validation accuracy against step", figure


def _late(view: View) -> pd.DataFrame | None:
    """Return the points of the second half, where they lie too near together to be told apart among all."""
    points = view.points
    late = points[points["step"] >= points["step"].max() / 2]
    if late["step"].nunique() < 2:
        return None
    whole, end = (np.ptp(part["val_accuracy"].to_numpy(dtype=np.float64)) for part in (points, late))
    return late if 0 < end < FLAT * whole else None


def _survival(view: View) -> tuple[str, str, Figure]:
    watched = view.trials[view.trials["outcome"] != "failed"]
    figure, (ax,) = panel_figure(1, view.style)
    plots.survival(ax, view.trials, view.looks)
    n = _span(watched.groupby("scheme").size())
    note = f"line: Kaplan-Meier;\nband, from first to last arrival: pointwise 95 % (Clopper-Pearson), n = {n}"
    missed = watched["steps_to_target"].isna().any()
    marks = [mark_entry("|", "not reached by the end", markersize=10, markeredgewidth=1.6)] if missed else []
    here = set(watched["scheme"])
    labels = [(look, look.label) for scheme, look in view.looks.items() if scheme in here]
    _explain(view, [ax], labels, marks, note)
    return "survival", f"Share of trials that have not reached validation accuracy {_target(view):g}", figure


def _steps(view: View) -> tuple[str, str, Figure]:
    missed = view.trials[view.trials["steps_to_target"].isna()]
    median = mark_entry("|", "Kaplan-Meier median", markersize=12, markeredgewidth=3)
    entries = [mark_entry("o", _one_seed(view), markersize=4), median]
    if (missed["outcome"] == "finished").any():
        entries.append(mark_entry(">", "not reached by the end", markerfacecolor="none"))
    if (missed["outcome"] == "diverged").any():
        entries.append(mark_entry("x", "diverged before reaching it"))
    figure, ax = _rows_sheet(view)
    rows.steps_to_target(ax, view.trials, view.looks, view.style)
    legend(figure, entries, "", view.style, below=True)
    return "steps_to_target", f"Steps to validation accuracy {_target(view):g}", figure


def _final(view: View) -> tuple[str, str, Figure]:
    here = set(view.trials["trial"])
    guess = next(record.data.guess for record in view.comparison.records if record.trial.id in here)
    figure, ax = _rows_sheet(view)
    rows.final_accuracy(ax, view.trials, view.looks, guess, view.style)
    low, high = ax.get_xlim()
    chance = f"chance: most frequent class, {guess:.3f}"
    entries = [
        mark_entry("o", _one_seed(view), markersize=4, alpha=0.5),
        mark_entry("D", "mean, 95 % t interval in [0, 1]", markersize=6),
        reference_entry(chance) if low <= guess <= high else mark_entry(CARETLEFT, f"{chance}, is off the axis"),
    ]
    legend(figure, entries, "", view.style, below=True)
    return "final_accuracy", "Test accuracy after training", figure


def _signal(view: View) -> tuple[str, str, Figure]:
    return "signal", "Signal at step 0 by layer", moments(view.layers, view.looks, view.style)


def _lr(view: View) -> tuple[str, str, Figure]:
    entries = [scheme_entry(look) for look in view.present.values()]
    entries.append(mark_entry("x", "some trials diverged at this lr"))
    tuning = " (tuning seeds)" if set(view.trials["trial"]) - set(view.comparison.trials["trial"]) else ""
    note = f"mean over finished trials with 95 % t interval; schemes at one lr side by side{tuning}"
    figure, (ax,) = panel_figure(1, view.style)
    said = f"{CEILING:g} ln {_classes(view)}"
    plots.lr_sensitivity(ax, view.trials, view.looks, CEILING * _guess_loss(view), said)
    explain(figure, entries, note, view.style)
    return "lr", "Final validation loss against lr", figure


def _profile(view: View, aggregate: Across) -> tuple[str, str, Figure]:
    entries = [scheme_entry(look) for scheme, look in view.looks.items() if scheme in aggregate.scores]
    settings = f"seeds or more in each of {len(aggregate.panels)} settings"
    band = f"band: pointwise 95 % bootstrap, n = {aggregate.seeds} {settings}"
    figure, (ax,) = panel_figure(1, view.style)
    plots.profile(ax, aggregate.profiles, view.looks)
    explain(figure, entries, band + coincidence([ax], view.looks), view.style)
    return "profile", "Share of trials above each test accuracy", figure


def _explain_curves(view: View, axes: Sequence[Axes], references: Sequence[Entry], bounds: str = "") -> None:
    """Name the schemes, and how many of the trials of each diverged."""
    labels = []
    for scheme, look in view.present.items():
        outcome = view.trials.loc[view.trials["scheme"] == scheme, "outcome"]
        lost = int((outcome == "diverged").sum())
        labels.append((look, look.label + (f" ({lost} of {len(outcome)} diverged)" if lost else "")))
    lost = view.trials.loc[view.trials["outcome"] == "diverged", "scheme"].value_counts()
    crosses = [mark_entry("x", f"diverged: the curve ends{_first(lost)}")] if len(lost) else []
    _explain(view, axes, labels, [*crosses, *references], _band_title(view, bounds))


def _explain(
    view: View, axes: Sequence[Axes], labels: Sequence[tuple[Look, str]], marks: Sequence[Entry], title: str
) -> None:
    """Name the schemes at the ends of the last panel's lines where there is room, else in the legend with the rest."""
    figure = axes[-1].figure
    assert isinstance(figure, Figure), "panels are not nested"
    title += coincidence(axes, view.looks)
    if label_ends(axes[-1], labels, view.style):
        legend(figure, marks, title, view.style, below=True)
    else:
        explain(figure, [*(scheme_entry(look, label) for look, label in labels), *marks], title, view.style)


def _band_title(view: View, bounds: str) -> str:
    sizes = view.points.groupby("scheme")["trial"].nunique()
    high = int(sizes.max()) if len(sizes) else 0
    if high < 2:
        return "line: a single seed"
    band = f"band: 95 % t interval of the mean{bounds}, n = {_span(sizes)}"
    if not view.seeds_drawn:
        return f"line: mean, while all seeds last;\n{band}"
    thin = "seeds" if high <= plots.SEEDS_DRAWN else f"{plots.SEEDS_DRAWN} seeds"
    mean = "their mean" if high <= plots.SEEDS_DRAWN else "mean of all"
    return f"thin: {thin}; thick: {mean}, while all last;\n{band}"


def _one_seed(view: View) -> str:
    return f"one seed{_first(view.trials['scheme'].value_counts())}"


def _first(counts: "pd.Series[int]") -> str:
    """Say that only the first seeds of a scheme are drawn, where some scheme has more."""
    return f" (first {plots.SEEDS_DRAWN} per scheme)" if counts.max() > plots.SEEDS_DRAWN else ""


def _span(sizes: "pd.Series[int]") -> str:
    """Return how many seeds the schemes have."""
    low, high = (int(sizes.min()), int(sizes.max())) if len(sizes) else (0, 0)
    return f"{low} seeds" if low == high else f"{low} to {high} seeds"


def _classes(view: View) -> int:
    datasets = set(view.trials["dataset"].unique())
    return next(record.data.classes for record in view.comparison.records if record.trial.dataset in datasets)


def _guess_loss(view: View) -> float:
    return math.log(_classes(view))


def _target(view: View) -> float:
    here = set(view.trials["trial"])
    return next(view.comparison.target_of(r) for r in view.comparison.records if r.trial.id in here)


def _rows_sheet(view: View) -> tuple[Figure, Axes]:
    """Return a figure with a row per scheme."""
    style = view.style
    labels = [look.label for look in view.present.values()]
    line = 1.4 * mpl.rcParams["font.size"] / 72
    row = max(0.4 if style.titled else 0.25, line * most_lines(labels, style.row_wrap) + 0.06)
    height = (1.1 if style.titled else 0.6) + row * len(labels)
    figure = Figure(figsize=(style.rows_width, height), dpi=style.dpi, layout="constrained")
    return figure, figure.subplots()
