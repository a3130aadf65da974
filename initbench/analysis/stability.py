"""Generalization gap and early stability of training."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from initbench.analysis.frames import learned_trials
from initbench.analysis.panels import Setting
from initbench.analysis.statistics.intervals import Estimate, mean_interval
from initbench.records.record import EARLY_STEPS, Point, Record

LEVEL_RULE = (
    "The common level of a setting is the highest final training loss among the trials that learned, over all schemes: "
    "the lowest level that all of them reached, so no curve is extrapolated."
)
INSTABILITY_RULE = (
    "Early instability: root mean square of the batch-to-batch changes of the log training loss over the first "
    f"{EARLY_STEPS} steps (von Neumann et al. 1941), likewise of the log gradient norm; trials that diverge within "
    "them have no value and are counted. A network that does not learn is stable too: see also how many learned."
)

SPIKE_LOSS, SPIKE_ACCURACY = 2.0, 0.1
SPIKE_RULE = (
    "A trial ends in a loss spike if its last training loss is at least twice the lowest earlier one and its "
    "validation accuracy is at least 10 points below its best: stopped earlier, it would have looked better."
)

State = Literal["measured", "diverged", "zero", "too short"]


@dataclass(frozen=True)
class Instability:
    """The root mean square of successive differences of logs, None unless `state` is `measured`.

    `diverged`: a value is not finite; `zero`: one is not positive, so it has no log; `too short`: fewer than two.
    """

    value: float | None
    state: State


@dataclass(frozen=True)
class Stability:
    """Generalization gap and early stability of one scheme in one setting; means are over the trials that have a value.

    `gap_at_end` is validation loss minus training loss of finished trials; `gap_at_level` the same where the training
    loss first falls to `level` (LEVEL_RULE), both in nats. `loss_instability` and `gradient_instability` have no unit.
    `early_diverged` of `n` trials diverged within the first steps. A mean with n below `n` is over survivors only.
    """

    dataset: str
    model: str
    optimizer: str
    batch_size: int
    lr: float
    scheme: str
    n: int
    early_diverged: int
    level: float | None
    gap_at_end: Estimate
    gap_at_level: Estimate
    loss_instability: Estimate
    gradient_instability: Estimate


def instability(values: Sequence[float | None]) -> Instability:
    """Return the root mean square of successive differences of the log of `values`, one per step, None = not finite.

    The mean square successive difference of von Neumann, Kent, Bellinson and Hart (Ann. Math. Statist. 12, 1941): a
    slow trend of d per step adds only d² to it, whereas a variance would count the whole descent as instability. Logs,
    because a jump of 0.2 nats is small at a loss of 2 and large at 0.2. For independent noise it is √2 its deviation.
    """
    array = np.array(values, dtype=np.float64)  # None becomes NaN
    if not np.isfinite(array).all():
        return Instability(None, "diverged")
    if (array <= 0).any():
        return Instability(None, "zero")
    if len(array) < 2:
        return Instability(None, "too short")
    steps = np.diff(np.log(array))
    return Instability(math.sqrt((steps * steps).mean()), "measured")


def loss_instability(record: Record) -> Instability:
    """Return the early instability of a record's training loss."""
    return _early(record, () if record.early is None else record.early.losses)


def gradient_instability(record: Record) -> Instability:
    """Return the early instability of a record's gradient norm."""
    return _early(record, () if record.early is None else record.early.gradient_norms)


def common_level(records: Iterable[Record], learned: frozenset[str]) -> float | None:
    """Return the level of LEVEL_RULE, in nats, of the records of one setting; None where none learned.

    `learned` holds trial ids. The final loss is that of the last point of the curve, on the same sample as the gap.
    """
    return max((r.curve[-1].train_loss for r in records if r.trial.id in learned and r.curve), default=None)


def gap_at_level(curve: Sequence[Point], level: float) -> float | None:
    """Return validation minus training loss where the training loss first falls to `level`; None if it never does.

    Both losses are taken as linear between two points, in steps or in log steps: at a given training loss the
    validation loss is the same either way. A curve that starts below the level never was at it.
    """
    if not curve or curve[0].train_loss < level:
        return None
    if curve[0].train_loss == level:
        return curve[0].val_loss - level
    for before, after in pairwise(curve):
        if after.train_loss <= level:
            part = (before.train_loss - level) / (before.train_loss - after.train_loss)
            return before.val_loss + part * (after.val_loss - before.val_loss) - level
    return None


def gap_at_end(record: Record) -> float | None:
    """Return the final validation loss minus the final training loss, in nats; None unless the trial finished."""
    final = record.final
    if final is None or final.val_loss is None or final.train_loss is None:
        return None
    return final.val_loss - final.train_loss


def stability(records: Sequence[Record]) -> tuple[Stability, ...]:
    """Return one row per setting and scheme, in order of appearance."""
    settings: dict[Setting, dict[str, list[Record]]] = {}
    for record in records:
        trial = record.trial
        setting = Setting(*trial.place, trial.lr)
        settings.setdefault(setting, {}).setdefault(trial.scheme, []).append(record)
    learned = learned_trials(records)
    return tuple(row for setting, schemes in settings.items() for row in _stability_in(setting, schemes, learned))


def _stability_in(
    setting: Setting, schemes: Mapping[str, Sequence[Record]], learned: frozenset[str]
) -> Iterable[Stability]:
    level = common_level((record for records in schemes.values() for record in records), learned)
    for scheme, records in schemes.items():
        losses = [loss_instability(record) for record in records]
        yield Stability(
            *setting,
            scheme,
            n=len(records),
            early_diverged=sum(loss.state == "diverged" for loss in losses),
            level=level,
            gap_at_end=_mean(map(gap_at_end, records)),
            gap_at_level=_mean(None if level is None else gap_at_level(record.curve, level) for record in records),
            loss_instability=_mean(loss.value for loss in losses),
            gradient_instability=_mean(gradient_instability(record).value for record in records),
        )


def ends_in_spike(record: Record) -> bool:
    """Return whether a finished trial ends in a loss spike (SPIKE_RULE)."""
    if record.outcome.status != "finished" or len(record.curve) < 2:
        return False
    *earlier, last = record.curve
    lowest, highest = min(point.train_loss for point in earlier), max(point.val_accuracy for point in earlier)
    return last.train_loss >= SPIKE_LOSS * lowest and highest - last.val_accuracy >= SPIKE_ACCURACY


def _early(record: Record, values: Sequence[float | None]) -> Instability:
    # The loss of a batch may be finite where that of an evaluation is not, so the outcome decides.
    ended = record.outcome.status == "diverged" and (record.outcome.step or 0) <= EARLY_STEPS
    return Instability(None, "diverged") if ended else instability(values[:EARLY_STEPS])


def _mean(values: Iterable[float | None]) -> Estimate:
    return mean_interval(np.array([value for value in values if value is not None], dtype=np.float64))
