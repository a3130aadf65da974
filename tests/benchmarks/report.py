"""Rounds into ratios, tables and a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import machine
import matplotlib as mpl
import numpy as np
import pandas as pd
from contenders.common import Job
from gate import ACCURACY_BAND, EARLY, LOSS_TOLERANCE, closeness, disagreements
from roofline import Work
from rounds import OURS, STEADY, Round, Tried
from scipy import stats
from workloads import Workload

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes


@dataclass(frozen=True)
class Measured:
    """All rounds of a workload."""

    key: str
    workload: Workload
    data: str
    job: Job
    work: Work
    tried: dict[str, Tried]
    rounds: list[Round]
    stolen: float

    @property
    def kept(self) -> list[Round]:
        """The calm rounds; all of them where fewer than half are calm."""
        calm = [one for one in self.rounds if one.calm]
        return calm if 2 * len(calm) >= len(self.rounds) else self.rounds

    @property
    def names(self) -> list[str]:
        """The contenders, ours last."""
        names = [name for name in sorted(self.rounds[0].ran) if name != OURS]
        return [*sorted(names, key=lambda name: -self.seconds(name)), OURS]

    @property
    def evaluated(self) -> int:
        """Images evaluated in one trial."""
        return self.rounds[0].ran[OURS].trained[0].evaluated

    @property
    def flop(self) -> float:
        """Operations of one trial: its steps, and every image that is evaluated."""
        return (
            self.job.trials[0].steps * self.work.step + self.rounds[0].ran[OURS].trained[0].evaluated * self.work.image
        )

    @property
    def floor(self) -> float:
        """Seconds a trial, if there were nothing but products at the measured rate."""
        return float(np.median([self.flop / one.rate for one in self.kept]))

    def seconds(self, name: str, kind: str = "seconds") -> float:
        return float(np.median([getattr(one.ran[name], kind) for one in self.kept]))

    def ratios(self, name: str, kind: str = "seconds") -> list[float]:
        """Return, round by round, how many times our seconds a contender takes."""
        return [getattr(one.ran[name], kind) / getattr(one.ran[OURS], kind) for one in self.kept]

    def share(self, name: str) -> list[float]:
        """Return, round by round, the share of the measured rate that a contender reaches."""
        return [self.flop / (one.ran[name].seconds * one.rate) for one in self.kept]

    def share_of_replay(self) -> list[float] | None:
        """Return, round by round, the seconds of our products alone as a share of our seconds."""
        busy = self.job.processes
        found = [one.replayed / busy / one.ran[OURS].seconds for one in self.kept if one.replayed is not None]
        return found or None

    def refused(self, name: str) -> list[str]:
        """Return why a contender's seconds are not compared with ours: in any round, calm or not."""
        faults = (disagreements(one.ran[OURS].trained, one.ran[name].trained) for one in self.rounds)
        return list(dict.fromkeys(fault for found in faults for fault in found))


def median(values: Sequence[float]) -> tuple[float, float, float]:
    """Return a median and its 95 % bootstrap percentile interval, NaN where there is one value only."""
    if len(values) < 2:
        return values[0], np.nan, np.nan
    found = stats.bootstrap((values,), np.median, method="percentile", rng=0).confidence_interval
    return float(np.median(values)), float(found.low), float(found.high)


def rows(measured: Measured) -> pd.DataFrame:
    """Return one row a contender; a contender that did other work has no ratio."""
    return pd.DataFrame([_row(measured, name) for name in measured.names])


def _row(measured: Measured, name: str) -> dict[str, object]:
    refused = measured.refused(name)
    row = {
        "workload": measured.key,
        "contender": name,
        "layout": measured.rounds[0].ran[name].layout,
        "trials": len(measured.rounds[0].ran[name].trained),
        "rounds": len(measured.kept),
        "dropped": len(measured.rounds) - len(measured.kept),
        "seconds_per_trial": measured.seconds(name),
        "seconds_in_all_per_trial": measured.seconds(name, "in_all"),
        "compilation_seconds": measured.seconds(name, "compilation"),
        "floor_seconds_per_trial": measured.floor,
        "refused": "; ".join(refused[:3]),
    }
    if not refused:
        row |= _cells("ratio", measured.ratios(name))
        row |= _cells("ratio_in_all", measured.ratios(name, "in_all"))
        row |= _cells("share", measured.share(name))
    return row


def _cells(key: str, values: Sequence[float]) -> dict[str, float]:
    return dict(zip((key, f"{key}_low", f"{key}_high"), median(values), strict=True))


def round_rows(measured: Measured) -> pd.DataFrame:
    """Return one row a round and contender: what the medians are taken of."""
    return pd.DataFrame(
        {
            "workload": measured.key, "round": i, "calm": one.calm, "contender": name,
            "seconds_per_trial": ran.seconds, "seconds_in_all_per_trial": ran.in_all,
            "compilation_seconds": ran.compilation,
            "gemm_before": one.gemm[0], "gemm_after": one.gemm[1], "replayed_seconds": one.replayed,
        }
        for i, one in enumerate(measured.rounds) for name, ran in one.ran.items()
    )  # fmt: skip


def section(measured: Measured) -> str:
    """Return a workload's part of the page, in Markdown."""
    trial, table = measured.job.trials[0], rows(measured)
    setting = (
        f"{measured.data}; `{trial.model}`, batch {trial.batch_size}, SGD, lr {trial.lr:g}. A trial has {trial.steps} "
        f"steps; its {trial.evaluations} evaluations on the way and the one at its end look at {measured.evaluated:,} "
        f"images. {_sizes(measured)}"
    )
    rate = np.median([one.rate for one in measured.kept]) / 1e9
    place = (
        f"Measured on {machine.processor()}. The GEMM rate is that of large products of {machine.blas()}: {rate:.0f} "
        f"GFLOP/s with {measured.job.processes} workers busy. "
        "Shares of it differ between processors, and exceed 1 where a program has faster products of its own."
    )
    heading = f"## {measured.key}: {measured.workload.title}"
    return "\n\n".join([heading, setting, place, _table(measured, table), *_remarks(measured)])


def _table(measured: Measured, table: pd.DataFrame) -> str:
    """Return the table; a command has no loop apart from the rest, and so one ratio only."""
    columns = {"× initbench, all in": "ratio_in_all"}
    if not measured.workload.command:
        columns = {"× initbench, loops": "ratio", **columns}
    head = ["contender", "layout", "trials", "seconds per trial", *columns, "share of the GEMM rate"]
    lines = [head, ["---"] * len(head)]
    for row in table.to_dict("records"):
        known = [row["contender"], row["layout"], str(row["trials"]), f"{row['seconds_per_trial']:.4f}"]
        if row["refused"]:
            lines.append([*known, f"no ratio: {row['refused']}", *[""] * len(columns)])
        else:
            ratios = ["1" if row["contender"] == OURS else _interval(row, key) for key in columns.values()]
            lines.append([*known, *ratios, _interval(row, "share")])
    floor = ["floor", "products alone, at the measured rate", "", f"{measured.floor:.4f}"]
    lines.append([*floor, *[""] * len(columns), "1"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _interval(row: dict[str, float], key: str) -> str:
    value, low, high = (row[key + end] for end in ("", "_low", "_high"))
    return f"{value:.2f}" + ("" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]")


def _sizes(measured: Measured) -> str:
    counts = {name: len(ran.trained) for name, ran in measured.rounds[0].ran.items()}
    schemes = len(measured.workload.schemes)
    grid = f"{schemes} scheme{'s' * (schemes > 1)} × {counts[OURS] // schemes} seeds"
    if len(set(counts.values())) == 1:
        return f"In a round every contender trains the same {counts[OURS]} trials, {grid}."
    few = ", ".join(f"{name} the first {count}" for name, count in counts.items() if count != counts[OURS])
    return (
        f"In a round the contenders train the same {counts[OURS]} trials, {grid}, {few} of them: it takes one after "
        f"another. Seconds are divided by trials."
    )


def _remarks(measured: Measured) -> list[str]:
    """Say how equal the work was, how calm the rounds, and what the seconds do not show."""
    others = [name for name in measured.names if name != OURS]
    accepted = [name for name in others if not measured.refused(name)]
    return [
        _meaning(measured),
        *([_equal_work(measured, others)] if accepted == others else []),
        _steadiness(measured),
        *_replayed(measured),
        *_compilation(measured),
        *_tried(measured),
    ]


def _meaning(measured: Measured) -> str:
    """Say what is in the seconds."""
    if measured.workload.command:
        return (
            f"{OURS}'s seconds are those from the start of its process to its end, imports, data, figures and page "
            f"included; the tutorial loop's are those of its trials alone."
        )
    return (
        f"Seconds and shares are those of the loops, from the first evaluation to the last. All in: with building, "
        f"initializing and, in {OURS} alone, the statistics of step 0. Imports and compilation are in neither."
    )


def _equal_work(measured: Measured, others: list[str]) -> str:
    gaps = [closeness(one.ran[OURS].trained, {n: one.ran[n].trained for n in others}) for one in measured.rounds]
    early, final = (max(column) for column in zip(*gaps, strict=True))
    return (
        f"Equal work: steps, samples and evaluated images are the same; losses of the first {EARLY} steps agree to "
        f"{early:.0e} of their value ({LOSS_TOLERANCE:g} is allowed), final accuracies to {final:.4f} "
        f"({ACCURACY_BAND:g} is allowed)."
    )


def _steadiness(measured: Measured) -> str:
    unsteady = sum(not one.calm for one in measured.rounds)
    dropped = len(measured.rounds) - len(measured.kept)
    fate = f"{dropped} dropped" if dropped else "none dropped, for most moved" if unsteady else "none dropped"
    return (
        f"Rounds: {len(measured.rounds)}; in {unsteady} the GEMM rate moved by more than {STEADY:.0%} ({fate}). "
        f"Processor time stolen: {measured.stolen:.1%}. Medians of paired rounds, 95 % bootstrap percentile intervals."
    )


def _replayed(measured: Measured) -> list[str]:
    """Say what a loop could reach on this BLAS."""
    replayed = measured.share_of_replay()
    if not replayed:
        return []
    told = _interval(_cells("share", replayed), "share")
    return [f"The workload's own products, replayed into ready buffers, take {told} of {OURS}'s seconds."]


def _compilation(measured: Measured) -> list[str]:
    """Say what compilers took."""
    told = []
    for name in measured.names:
        first, *later = (one.ran[name].compilation for one in measured.rounds)
        if first:
            again = f" and {np.median(later):.1f} s in later ones" if later else ""
            told.append(f"{name}, {first:.1f} s in the first round{again}")
    return [f"Compilation per process, not counted: {'; '.join(told)}."] if told else []


def _tried(measured: Measured) -> list[str]:
    """Say in which layouts a contender was tried."""
    told = [f"{name}, {_layouts(tried)}" for name, tried in measured.tried.items()]
    return [f"Layouts tried before the rounds, the fastest taken: {'; '.join(told)}."] if told else []


def _layouts(tried: Tried) -> str:
    names = {key: f"{key} DataLoader workers" if isinstance(key, int) else key for key in tried}
    return ", ".join(f"{names[key]}: {ran.seconds:.3f} s" for key, ran in tried.items())


def picture(all_measured: Sequence[Measured], path: Path) -> None:
    """Draw seconds a trial as bars against the floor, one panel a workload."""
    figure, panels = plt.subplots(
        len(all_measured), 1, figsize=(8.5, 1.9 * len(all_measured) + 0.4), layout="constrained", squeeze=False
    )
    for axes, measured in zip(panels[:, 0], all_measured, strict=True):
        _panel(axes, measured)
    panels[-1, 0].set_xlabel("seconds a trial, the whole machine busy (median of rounds)")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _panel(axes: Axes, measured: Measured) -> None:
    names = [name for name in measured.names if not measured.refused(name)]
    seconds = [measured.seconds(name) for name in names]
    bars = axes.barh(names, seconds, color=["#0072b2" if name == OURS else "#b0b0b0" for name in names])
    ratios = ["" if name == OURS else f"  ({median(measured.ratios(name))[0]:.3g}×)" for name in names]
    labels = [f"{value:.3g} s{ratio}" for value, ratio in zip(seconds, ratios, strict=True)]
    axes.bar_label(bars, labels, padding=3, fontsize=9)
    axes.axvline(measured.floor, color="#d55e00", linewidth=1.5)
    axes.set_title(f"{measured.key}: {measured.workload.title}", loc="left", fontsize=10)
    axes.set_title(f"floor {measured.floor:.3g} s", loc="right", fontsize=10, color="#d55e00")
    axes.set_xlim(0, 1.22 * max(seconds))
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
