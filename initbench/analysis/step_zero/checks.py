"""Verdicts on step 0: what each check says of a scheme, with its figure, the layer where it starts, and a remedy.

A check reads the statistics of one scheme on one model, seed after seed. Where it depends on a mean over seeds, the end
of the 95 % interval that speaks for the scheme decides how bad it is called.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from initbench.analysis.statistics.intervals import Estimate, Floats, mean_interval
from initbench.analysis.step_zero.propagation import Evidence, evidence_of, largest, passed_by, power_of_two, slopes_of
from initbench.analysis.step_zero.remedies import keep_gradient, rescale, spread_out, start_random
from initbench.records.record import StepZero

Level = Literal["PASS", "WARN", "FAIL"]
LEVELS: tuple[Level, ...] = ("PASS", "WARN", "FAIL")

# Bits (factors of 2) of E[z²] or E[(∂z)²] between the first and the last hidden layer. Xavier under ReLU loses one a
# layer: it is warned of from 5 layers on, where training still succeeds, and fails from 12 on.
WARN_BITS, FAIL_BITS = 5.0, 12.0
WARN_COSINE, FAIL_COSINE = 0.98, 0.9995
WARN_DEAD = 0.5  # half the units are shut when all images have become one, whatever the scheme
WARN_LOSS, FAIL_LOSS = 1.0, 5.0  # nats above ln K: Kaiming's logits of variance 2 cost 0.81 for ten classes
WARN_SILENT = 0.01  # share of images that some layer swallows whole
THEORY_SLACK, GRADIENT_SLACK = 0.15, 0.7  # in ln: what laws of infinite width may miss beside sampling error


@dataclass(frozen=True)
class Check:
    """One check: `figure` is what was seen, `layer` where it starts, `remedy` what to do; both empty on PASS."""

    name: str
    level: Level
    figure: str
    layer: str = ""
    remedy: str = ""


def diagnose(steps: Sequence[StepZero]) -> tuple[Check, ...]:
    """Return every check of one scheme on one model, from what was seen with each seed; nothing where there is none."""
    of = evidence_of(steps)
    return tuple(check(of) for check in CHECKS) if of.steps else ()


def verdict(checks: Iterable[Check]) -> Level:
    """Return the worst level of any check."""
    return max((check.level for check in checks), key=LEVELS.index, default="PASS")


def severity(checks: Iterable[Check]) -> tuple[int, int]:
    """Return how many checks fail and how many warn: an order from best to worst."""
    counts = Counter(check.level for check in checks)
    return counts["FAIL"], counts["WARN"]


def _forward(of: Evidence) -> Check:
    return _drift(of, "signal", of.column("forward_moment"), "E[z²]", lambda fading: rescale(of, fading=fading))


def _backward(of: Evidence) -> Check:
    # The gradient goes from the last layer to the first, so its moments are read in that order.
    moments = of.gradient_norms[:, ::-1]
    if moments.size and (moments == 0).all() and not (of.column("forward_moment") == 0).any():
        return Check(
            "gradient", "WARN", "no gradient reaches a hidden layer: the head's weights are 0", of.heads[0].layer,
            "the first step trains the head alone; use a small head, head=normal(std=0.01), to train all at once",
        )  # fmt: skip
    return _drift(of, "gradient", moments, "‖∂z‖²", lambda fading: keep_gradient(of, fading=fading), way=-1)


def _drift(of: Evidence, name: str, moments: Floats, symbol: str, remedy: Callable[[bool], str], way: int = 1) -> Check:
    """Judge how far a moment drifts over the hidden layers (seeds, layers), in the order in which it passes them."""
    passed = passed_by(moments)
    names, moments = list(np.array(of.names)[::way][passed]), moments[:, passed]
    if len(names) < 2:
        return Check(name, "PASS", "fewer than two hidden layers")
    if not np.isfinite(moments).all():
        first = names[int((~np.isfinite(moments)).any(axis=0).argmax())]
        return Check(name, "FAIL", f"{symbol} is not finite from {first} on", first, remedy(False))
    alive = moments[(moments > 0).all(axis=1)]
    if not len(alive):
        first = names[int((moments == 0).all(axis=0).argmax())]
        return Check(name, "FAIL", f"{symbol} is exactly 0 from {first} on", first, start_random(of))
    bits = np.log2(alive)
    total, slope = mean_interval(bits[:, -1] - bits[:, 0]), mean_interval(slopes_of(alive))
    level = _level(_nearest_to_zero(total), WARN_BITS, FAIL_BITS)
    around = "" if passed.all() else f", past {int((~passed).sum())} layers that start at 0"
    figure = f"{symbol} {_factor(slope)} a layer, {_power(total.mean)} from {names[0]} to {names[-1]}{around}"
    if level == "PASS":
        return Check(name, level, figure)
    drift = np.abs((bits - bits[:, :1]).mean(axis=0)) > WARN_BITS
    return Check(name, level, figure, names[int(drift.argmax())], remedy(bool((total.mean or 0) < 0)))


def _dead(of: Evidence) -> Check:
    shares = of.column("dead_fraction")
    silent = of.network("silent_inputs")
    if not np.isfinite(shares).any():
        return Check("dead units", "PASS", "no ReLU to be dead")
    asked = of.steps[0].network.images_for_dead
    worst = int(np.nanmean(np.nan_to_num(shares, nan=-1.0), axis=0).argmax())
    share = float(np.nanmean(shares[:, worst]))
    gone = (shares == 1).any(axis=1)
    figure = f"at most {share:.0%} of a layer ({of.names[worst]}) over {asked} images"
    remedy = "widen the narrowest layers, or start with bias=constant(0.1)"
    if gone.any():
        first = of.names[int((shares == 1).any(axis=0).argmax())]
        lost = f"a layer is shut for every image in {int(gone.sum())} of {len(gone)} seeds" + _chance(of)
        return Check("dead units", "FAIL", lost, first, remedy)
    if len(silent) and silent.mean() > WARN_SILENT:
        lost = f"{silent.mean():.1%} of images end in a layer that is shut" + _chance(of)
        return Check("dead units", "WARN", lost, of.names[worst], remedy)
    if share > WARN_DEAD:
        return Check("dead units", "WARN", figure, of.names[worst], "see the cosine: units die as images become one")
    return Check("dead units", "PASS", figure)


def _collapse(of: Evidence) -> Check:
    passed = passed_by(of.column("forward_moment"))
    names, cosines = list(np.array(of.names)[passed]), of.column("cosine")[:, passed]
    known = np.isfinite(cosines).all(axis=1)
    if not known.any() or not names:
        return Check("inputs apart", "PASS", "no cosine to measure")
    ends = mean_interval(cosines[known][:, -1])
    level = _level(_nearest_to_zero(ends), WARN_COSINE, FAIL_COSINE)
    ranks = of.column("effective_rank")[:, passed][known][:, -1]
    figure = f"mean cosine {_of_one(ends.mean or 0.0)}, effective rank {ranks.mean():.3g} at {names[-1]}"
    if level == "PASS":
        return Check("inputs apart", level, figure)
    first = names[int((cosines[known].mean(axis=0) > WARN_COSINE).argmax())]
    return Check("inputs apart", level, figure, first, spread_out(of))


def _loss(of: Evidence) -> Check:
    classes = of.steps[0].network.classes
    losses = mean_interval(of.network("loss"))
    if classes is None:
        return Check("loss at step 0", "PASS", "outputs are no logits")
    if losses.mean is None:
        return Check("loss at step 0", "FAIL", "the loss is not finite", of.heads[0].layer, "make the weights smaller")
    chance = math.log(classes)
    # A loss below chance is that of a network that has learned.
    level = _level(max(0.0, _nearest_to_zero(replace(losses, mean=losses.mean - chance))), WARN_LOSS, FAIL_LOSS)
    spread = float(of.network("logit_std").mean())
    loss = f"{losses.mean:.3f}" if losses.mean < 1e5 else f"{losses.mean:.3g}"
    figure = f"{loss} against ln {classes} = {chance:.3f}, logits of std {spread:.2g}"
    if level == "PASS":
        return Check("loss at step 0", level, figure)
    return Check(
        "loss at step 0", level, figure, of.heads[0].layer, "start with a smaller head: head=normal(std=0.01) or zeros"
    )


def _symmetry(of: Evidence) -> Check:
    shares = of.column("symmetric_units") / np.maximum(of.column("units"), 1)
    # Units behind a layer that is shut are alike because nothing reaches them, which `dead units` tells.
    shares = np.where((of.column("forward_moment") == 0) & (of.column("weight_norm") > 0), 0.0, shares)
    worst = shares.mean(axis=0) if len(of.names) else np.zeros(0)
    # A layer that is 0 as a whole is meant to be: output and gradient say whether its units are alike.
    faults = (layer for layers in of.hidden for layer in layers if layer.zero_rows < layer.units)
    faulty = next((of for of in faults if of.zero_rows + of.duplicate_rows + of.antiparallel_rows), None)
    if worst.size and worst.max() > 0:
        first = of.names[int((worst > 0).argmax())]
        figure = f"{worst.max():.0%} of a layer's units have a twin of equal output and gradient: they stay equal"
        return Check("symmetric units", "FAIL" if worst.max() >= 0.5 else "WARN", figure, first, start_random(of))
    if faulty is not None:
        figure = (
            f"{faulty.layer} has {faulty.zero_rows} zero, {faulty.duplicate_rows} equal and "
            f"{faulty.antiparallel_rows} opposite rows of {faulty.units}"
        )
        return Check("symmetric units", "WARN", figure, faulty.layer, "fewer units than it seems: use orthogonal")
    return Check("symmetric units", "PASS", "no two units alike")


def _balance(of: Evidence) -> Check:
    forward, backward = of.column("forward_moment"), of.gradient_norms[:, ::-1]
    known = (forward > 0).all(axis=1) & (backward > 0).all(axis=1) & np.isfinite(forward + backward).all(axis=1)
    if len(of.names) < 2 or not known.any():
        return Check("balance", "PASS", "fewer than two hidden layers" if len(of.names) < 2 else "nothing to compare")
    ways = [np.log2(moments[known]) for moments in (forward, backward)]
    totals = [bits[:, -1] - bits[:, 0] for bits in ways]
    apart = mean_interval(totals[0] - totals[1])
    level: Level = "WARN" if abs(_nearest_to_zero(apart)) > WARN_BITS else "PASS"
    figure = f"signal {_power(float(totals[0].mean()))}, gradient {_power(float(totals[1].mean()))} over all layers"
    if level == "PASS":
        return Check("balance", level, figure)
    remedy = "one way is kept at the cost of the other: layers of equal width, or xavier_*, balance the two"
    return Check("balance", level, figure, of.names[0], remedy)


def _theory(of: Evidence) -> Check:
    """Compare with the predictions: more than finite width and seeds explain means a law or the code is wrong."""
    found = []
    # A gradient has passed the layers above: their spread is not kept apart, so that of all layers bounds it.
    spreads = of.column("spread"), np.broadcast_to(largest(of.column("spread")), of.column("spread").shape)
    ways = (("forward_moment", THEORY_SLACK), ("gradient_moment", GRADIENT_SLACK))
    for (column, slack), spread in zip(ways, spreads, strict=True):
        bounds = 4 * spread / math.sqrt(len(of.steps))
        measured, predicted = of.column(column), of.column(f"{column}_predicted")
        with np.errstate(divide="ignore", invalid="ignore"):
            off = np.log(measured / predicted).mean(axis=0) if len(of.names) else np.zeros(0)
        # A lognormal with mean 1 has its median, which seeds estimate, at exp(−spread²/2).
        low = -(spread**2).mean(axis=0) / 2 - bounds.mean(axis=0) - slack if len(of.names) else off
        high = bounds.mean(axis=0) + slack if len(of.names) else off
        outside = np.isfinite(off) & ((off < low) | (off > high))
        if outside.any():
            found.append((int(outside.argmax()), column, float(np.exp(off[outside.argmax()]))))
    told = int(np.isfinite(of.column("forward_moment_predicted")).all(axis=0).sum()) if len(of.names) else 0
    if not found and not told:
        return Check("theory", "PASS", "no hidden layer with a closed form")
    if not found:
        return Check("theory", "PASS", f"{told} of {len(of.names)} hidden layers predicted, all within sampling error")
    place, column, factor = min(found)
    figure = f"{column.replace('_', ' ')} is {factor:.2g} times its prediction"
    return Check("theory", "WARN", figure, of.names[place], "no closed form holds there: trust the measurement")


CHECKS: tuple[Callable[[Evidence], Check], ...] = (
    _forward,
    _backward,
    _dead,
    _collapse,
    _loss,
    _symmetry,
    _balance,
    _theory,
)


def _nearest_to_zero(of: Estimate) -> float:
    """Return the point of the interval that speaks best for the scheme; without an interval, the mean."""
    mean = of.mean or 0.0
    if of.low is None or of.high is None:
        return mean
    return 0.0 if of.low < 0 < of.high else min(of.low, of.high, key=abs)


def _level(value: float, warn: float, fail: float) -> Level:
    return "FAIL" if abs(value) > fail else "WARN" if abs(value) > warn else "PASS"


def _factor(slope: Estimate) -> str:
    """Say by how much a moment is multiplied each layer: ×0.50 [0.49, 0.51]."""
    said = f"×{power_of_two(slope.mean or 0.0):.3g}"
    if slope.low is None or slope.high is None:
        return f"{said} (one seed)"
    return f"{said} [{power_of_two(slope.low):.3g}, {power_of_two(slope.high):.3g}]"


def _power(bits: float | None) -> str:
    return f"2^{bits or 0.0:.1f}"


def _of_one(cosine: float) -> str:
    """Show as many digits as tell a cosine from 1."""
    gap = 1 - cosine
    return f"{cosine:.3f}" if gap > 0.001 else "1.000" if gap <= 0 else f"1 − {gap:.1g}"


def _chance(of: Evidence) -> str:
    predicted = of.network("silent_inputs_predicted")
    if not len(predicted):
        return ""
    return f"; for one image the chance is {predicted.mean():.2g} at this width and depth"
