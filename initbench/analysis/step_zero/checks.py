"""The checks on step 0: the level of each for a scheme, its figure, the layer where the problem starts, and a remedy.

A check reads the statistics of one scheme on one model over seeds. Where it depends on a mean over seeds, the end of
the 95 % interval more favourable to the scheme decides its level.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from initbench.analysis.statistics.intervals import Estimate, Floats, mean_interval
from initbench.analysis.step_zero.agreement import Agreement
from initbench.analysis.step_zero.propagation import (
    WeightedLayers,
    log2_slopes,
    passed_through,
    power_of_two,
    slopes_of,
    weighted_layers,
)
from initbench.analysis.step_zero.remedies import (
    KEPT,
    USUAL,
    balance,
    keep_gradient,
    rescale,
    spread_out,
    start_random,
)
from initbench.records.record import StepZero

Level = Literal["PASS", "WARN", "FAIL"]
LEVELS: tuple[Level, ...] = ("PASS", "WARN", "FAIL")

# Bits (factors of 2) of E[z²] or E[(∂z)²] between the first and the last hidden layer. Xavier under ReLU loses one per
# layer: it gets a WARN from 5 layers on, where training still succeeds, and a FAIL from 12 on.
WARN_BITS, FAIL_BITS = 5.0, 12.0
WARN_COSINE, FAIL_COSINE = 0.98, 0.9995
WARN_DEAD = 0.5  # where all images have become alike, half the units are dead, whatever the scheme
WARN_LOSS, FAIL_LOSS = 1.0, 5.0  # nats above ln K: Kaiming's logits of variance 2 cost 0.81 for ten classes
WARN_SILENT = 0.01  # share of images for which all ReLUs of some layer output 0
THEORY_SLACK = 0.15  # in ln: less than that beyond sampling error is told, and no problem


@dataclass(frozen=True)
class Check:
    """One check: the `figure` measured and, unless it passes, the `layer` where the problem starts and a `remedy`."""

    name: str
    level: Level
    figure: str
    layer: str = ""
    remedy: str = ""


def diagnose(steps: Sequence[StepZero]) -> tuple[Check, ...]:
    """Return every check of one scheme on one model from its statistics per seed; nothing without weighted layers."""
    return _diagnose(weighted_layers(steps))


def _diagnose(layers: WeightedLayers) -> tuple[Check, ...]:
    return tuple(check(layers) for check in CHECKS) if layers.steps else ()


def diagnose_together(steps: Mapping[str, Sequence[StepZero]]) -> dict[str, tuple[Check, ...]]:
    """Return the checks of several schemes on one model; no remedy names a scheme that was judged bad beside it."""
    layers = {scheme: weighted_layers(of_scheme) for scheme, of_scheme in steps.items()}
    found = {scheme: _diagnose(of_scheme) for scheme, of_scheme in layers.items()}
    bad = [scheme for scheme, checks in found.items() if any(map(_is_bad, checks)) or _drifts(layers[scheme])]
    faulty = [scheme for scheme, checks in found.items() if worst_level(checks) != "PASS"]
    return found | {scheme: _diagnose(layers[scheme].beside(bad)) for scheme in faulty if bad}


def _is_bad(check: Check) -> bool:
    return check.level == "FAIL" or (check.level == "WARN" and check.name in {"signal", "gradient"})


def _drifts(layers: WeightedLayers) -> bool:
    """Return whether a signal changes by more than one that counts as kept, where remedies say that schemes keep it."""
    _, advice = USUAL.get(layers.nonlinearity, ((), ""))
    return "keep" in advice and abs(_nearest_to_zero(slopes_of(layers)[0])) > KEPT


def worst_level(checks: Iterable[Check]) -> Level | None:
    """Return the worst level of any check, None where nothing was checked."""
    return max((check.level for check in checks), key=LEVELS.index, default=None)


def severity(checks: Iterable[Check]) -> tuple[int, int]:
    """Return how many checks fail and how many warn; sorts from best to worst."""
    counts = Counter(check.level for check in checks)
    return counts["FAIL"], counts["WARN"]


def _forward(layers: WeightedLayers) -> Check:
    return _drift(layers, "signal", layers.signal, "E[z²]", lambda fading: rescale(layers, fading=fading))


def _backward(layers: WeightedLayers) -> Check:
    # The gradient travels from the last layer to the first.
    moments = layers.gradient_norms[:, ::-1]
    if moments.size and not layers.reached.any():
        return Check("gradient", "PASS", "no hidden layer has a gradient: all are frozen or off the way to the loss")
    if moments.size and (moments == 0).all() and not (layers.signal == 0).any():
        return Check(
            "gradient", "WARN", "no gradient reaches a hidden layer: the head's weights are 0", layers.heads[0].layer,
            "the first step trains only the head; use a small head, head=normal(std=0.01), to train all layers at once",
        )  # fmt: skip
    return _drift(layers, "gradient", moments, "‖∂z‖²", lambda fading: keep_gradient(layers, fading=fading), order=-1)


def _drift(
    layers: WeightedLayers, name: str, moments: Floats, symbol: str, remedy: Callable[[bool], str], order: int = 1
) -> Check:
    """Check how far a moment (seeds, hidden layers) drifts over the layers, in its order of travel."""
    passed = passed_through(moments)
    names, moments = list(np.array(layers.names)[::order][passed]), moments[:, passed]
    if len(names) < 2:
        return Check(name, "PASS", "fewer than two hidden layers")
    if not np.isfinite(moments).all():
        first = names[int((~np.isfinite(moments)).any(axis=0).argmax())]
        return Check(name, "FAIL", f"{symbol} is not finite from {first} on", first, remedy(False))
    alive = moments[(moments > 0).all(axis=1)]
    if not len(alive):
        first = names[int((moments == 0).all(axis=0).argmax())]
        return Check(name, "FAIL", f"{symbol} is exactly 0 from {first} on", first, start_random(layers))
    bits = np.log2(alive)
    total, slope = mean_interval(bits[:, -1] - bits[:, 0]), mean_interval(log2_slopes(alive))
    level = _level(_nearest_to_zero(total), WARN_BITS, FAIL_BITS)
    skipped = "" if passed.all() else f", skipping {int((~passed).sum())} layers that start at 0"
    figure = f"{symbol} {_factor(slope)} per layer, {_power(total.mean)} from {names[0]} to {names[-1]}{skipped}"
    if level == "PASS":
        return Check(name, level, figure)
    drift = np.abs((bits - bits[:, :1]).mean(axis=0)) > WARN_BITS
    return Check(name, level, figure, names[int(drift.argmax())], remedy(bool((total.mean or 0) < 0)))


def _dead(layers: WeightedLayers) -> Check:
    shares = layers.column("dead_fraction")
    silent = layers.network("silent_inputs")
    if not np.isfinite(shares).any():
        return Check("dead units", "PASS", "no ReLU units")
    images = layers.steps[0].network.images_for_dead
    worst = int(np.nanmean(np.nan_to_num(shares, nan=-1.0), axis=0).argmax())
    share = float(np.nanmean(shares[:, worst]))
    all_dead = (shares == 1).any(axis=1)
    figure = f"at most {share:.0%} of a layer ({layers.names[worst]}) over {images} images"
    remedy = "widen the narrowest layers, or start with bias=constant(0.1)"
    if all_dead.any():
        first = layers.names[int((shares == 1).any(axis=0).argmax())]
        seeds = f"{int(all_dead.sum())} of {len(all_dead)} seeds"
        figure = f"a layer outputs 0 for every image in {seeds}{_chance(layers)}"
        return Check("dead units", "FAIL", figure, first, remedy)
    if len(silent) and silent.mean() > WARN_SILENT:
        figure = f"{silent.mean():.1%} of images reach a layer that outputs 0{_chance(layers)}"
        return Check("dead units", "WARN", figure, layers.names[worst], remedy)
    if share > WARN_DEAD:
        remedy = "see the cosine: units die as images become alike"
        return Check("dead units", "WARN", figure, layers.names[worst], remedy)
    return Check("dead units", "PASS", figure)


def _collapse(layers: WeightedLayers) -> Check:
    # Only where all seeds have a row per image: experts, tokens and learned queries have others.
    passed = (
        passed_through(layers.signal) & np.isfinite(layers.column("cosine")).any(axis=0) & layers.present.all(axis=0)
    )
    names, cosines = list(np.array(layers.names)[passed]), layers.column("cosine")[:, passed]
    known = np.isfinite(cosines).all(axis=1)
    if not known.any() or not names:
        return Check("inputs apart", "PASS", "no cosine measured")
    ends = mean_interval(cosines[known][:, -1])
    level = _level(_nearest_to_zero(ends), WARN_COSINE, FAIL_COSINE)
    ranks = layers.column("effective_rank")[:, passed][known][:, -1]
    figure = f"mean cosine {_near_one(ends.mean or 0.0)}, effective rank {ranks.mean():.3g} at {names[-1]}"
    if level == "PASS":
        return Check("inputs apart", level, figure)
    first = names[int((cosines[known].mean(axis=0) > WARN_COSINE).argmax())]
    return Check("inputs apart", level, figure, first, spread_out(layers))


def _loss(layers: WeightedLayers) -> Check:
    classes = layers.steps[0].network.classes
    losses, head = mean_interval(layers.network("loss")), layers.heads[0].layer
    if classes is None:
        return Check("loss at step 0", "PASS", "outputs are not logits")
    if losses.mean is None:
        return Check("loss at step 0", "FAIL", "the loss is not finite", head, "make the weights smaller")
    chance = math.log(classes)
    # A loss below chance is no fault: the network has learned something.
    level = _level(max(0.0, _nearest_to_zero(replace(losses, mean=losses.mean - chance))), WARN_LOSS, FAIL_LOSS)
    spread = float(layers.network("logit_std").mean())
    loss = f"{losses.mean:.3f}" if losses.mean < 1e5 else f"{losses.mean:.3g}"
    figure = f"{loss} against ln {classes} = {chance:.3f}, logits of std {spread:.2g}"
    if level == "PASS":
        return Check("loss at step 0", level, figure)
    remedy = "start with a smaller head: head=normal(std=0.01) or zeros"
    return Check("loss at step 0", level, figure, head, remedy)


def _symmetry(layers: WeightedLayers) -> Check:
    shares = layers.column("symmetric_units") / np.maximum(layers.column("units"), 1)
    # Units after a layer that outputs 0 are alike because nothing reaches them, which `dead units` reports.
    shares = np.where((layers.column("forward_moment") == 0) & (layers.column("weight_norm") > 0), 0.0, shares)
    shares = np.where(layers.present, shares, 0.0)
    worst = shares.mean(axis=0) if len(layers.names) else np.zeros(0)
    # A layer that is all 0 is so on purpose: its output and gradient show whether its units are alike.
    faults = (layer for row in layers.hidden for layer in row if layer.zero_rows < layer.units)
    faulty = next((row for row in faults if row.zero_rows + row.duplicate_rows + row.antiparallel_rows), None)
    if worst.size and worst.max() > 0:
        first = layers.names[int((worst > 0).argmax())]
        figure = f"{worst.max():.0%} of a layer's units have a twin with equal output and gradient: they stay equal"
        return Check("symmetric units", "FAIL" if worst.max() >= 0.5 else "WARN", figure, first, start_random(layers))
    if faulty is not None:
        figure = (
            f"{faulty.layer} has {faulty.zero_rows} zero, {faulty.duplicate_rows} equal and "
            f"{faulty.antiparallel_rows} opposite rows of {faulty.units}"
        )
        remedy = "the layer has fewer distinct units than rows: use orthogonal"
        return Check("symmetric units", "WARN", figure, faulty.layer, remedy)
    return Check("symmetric units", "PASS", "no two units alike")


def _balance(layers: WeightedLayers) -> Check:
    forward, backward = layers.signal, layers.gradient_norms[:, ::-1]
    known = (forward > 0).all(axis=1) & (backward > 0).all(axis=1) & np.isfinite(forward + backward).all(axis=1)
    if len(layers.names) < 2:
        return Check("balance", "PASS", "fewer than two hidden layers")
    if not known.any():
        return Check("balance", "PASS", "nothing to compare")
    both = [np.log2(moments[known]) for moments in (forward, backward)]
    totals = [bits[:, -1] - bits[:, 0] for bits in both]
    apart = mean_interval(totals[0] - totals[1])
    level: Level = "WARN" if abs(_nearest_to_zero(apart)) > WARN_BITS else "PASS"
    figure = f"signal {_power(float(totals[0].mean()))}, gradient {_power(float(totals[1].mean()))} over all layers"
    if level == "PASS":
        return Check("balance", level, figure)
    return Check("balance", level, figure, layers.names[0], balance(layers))


def _theory(layers: WeightedLayers) -> Check:
    """Compare with the predictions: more than sampling explains means that a law or the code is wrong."""
    hidden = set(layers.names)
    found = [one for one in layers.agreements if one.layer in hidden]
    if not found:
        return Check("theory", "PASS", "no hidden layer with a closed form")
    worst = max(found, key=lambda one: abs(_nearest(one)))
    if abs(_nearest(worst)) > THEORY_SLACK:
        figure = f"{worst.moment.replace('_', ' ')} is {_times(worst)} its prediction"
        return Check("theory", "WARN", figure, worst.layer, "no closed form holds there: trust the measurement")
    outside = [one for one in found if not one.inside]
    predicted = len({one.layer for one in found} - {one.layer for one in outside})
    figure = f"{predicted} of {len(hidden)} hidden layers predicted within sampling error"
    if outside:
        figure += f", and elsewhere by {_times(worst)} at most"
    low, high = (math.exp(pick(one.ratio for one in found)) for pick in (min, max))
    return Check("theory", "PASS", f"{figure}: measured {low:.2f} to {high:.2f} times that (mean of {found[0].n})")


CHECKS: tuple[Callable[[WeightedLayers], Check], ...] = (
    _forward,
    _backward,
    _dead,
    _collapse,
    _loss,
    _symmetry,
    _balance,
    _theory,
)


def _nearest_to_zero(estimate: Estimate) -> float:
    """Return the point of the interval most favourable to the scheme; without an interval, the mean."""
    mean = estimate.mean or 0.0
    if estimate.low is None or estimate.high is None:
        return mean
    return 0.0 if estimate.low < 0 < estimate.high else min(estimate.low, estimate.high, key=abs)


def _nearest(agreement: Agreement) -> float:
    """Return the point of the interval nearest to agreement."""
    return 0.0 if agreement.inside else min(agreement.low, agreement.high, key=abs)


def _times(agreement: Agreement) -> str:
    ends = f"[{math.exp(agreement.low):.2g}, {math.exp(agreement.high):.2g}]"
    return f"{math.exp(agreement.ratio):.2g} {ends} times"


def _level(value: float, warn: float, fail: float) -> Level:
    return "FAIL" if abs(value) > fail else "WARN" if abs(value) > warn else "PASS"


def _factor(slope: Estimate) -> str:
    """Return the factor per layer of a moment: ×0.50 [0.49, 0.51]."""
    factor = f"×{power_of_two(slope.mean or 0.0):.3g}"
    if slope.low is None or slope.high is None:
        return f"{factor} (one seed)"
    return f"{factor} [{power_of_two(slope.low):.3g}, {power_of_two(slope.high):.3g}]"


def _power(bits: float | None) -> str:
    return f"2^{bits or 0.0:.1f}"


def _near_one(cosine: float) -> str:
    """Return a cosine with enough digits to distinguish it from 1."""
    gap = 1 - cosine
    return f"{cosine:.3f}" if gap > 0.001 else "1.000" if gap <= 0 else f"1 − {gap:.1g}"


def _chance(layers: WeightedLayers) -> str:
    predicted = layers.network("silent_inputs_predicted")
    if not len(predicted):
        return ""
    return f"; the chance for one image is {predicted.mean():.2g} at this width and depth"
