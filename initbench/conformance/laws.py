"""Laws: the mean and variance that a rule declares, and what they make of a signal."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from initbench.conformance.evidence import (
    DRAWS,
    ERRORS,
    PASS,
    SKIP,
    SLACK,
    Evidence,
    Found,
    Law,
    filled,
    filled_model,
    found,
    no_law,
    with_widths,
)
from initbench.schemes import Sample

TOLERANCE = 0.05  # of an output's variance on the batch that a procedure saw: sums in another order


def has_the_declared_variance(evidence: Evidence) -> Found:
    """The second moment about the declared mean is the declared variance, within sampling error."""
    compared = [(law, law.moments, law.variance, 0.0) for law in evidence.laws if not math.isnan(law.variance)]
    return _compared("variance", compared) if _tell(compared) else (SKIP, no_law(evidence))


def has_the_declared_mean(evidence: Evidence) -> Found:
    """The mean of entries is the declared one, within sampling error."""
    compared = [
        (law, law.means, law.item.rule.mean, math.sqrt(law.variance))
        for law in evidence.laws
        if not math.isnan(law.variance)
    ]
    return _compared("mean", compared) if _tell(compared) else (SKIP, no_law(evidence))


def keeps_the_signal_it_declares(evidence: Evidence) -> Found:
    """Where layers widen or narrow, E[z²] of white inputs changes only as the declared variance says."""
    compared = [(law, law.gains, law.gain, 0.0) for law in evidence.laws if not law.item.is_bias]
    if compared:
        return _compared("E[z²]", compared)
    gains = _undeclared_gains(evidence)
    if not gains:
        return SKIP, no_law(evidence)
    low, high = min(gains, key=lambda item: item[0]), max(gains, key=lambda item: item[0])
    if high[0] - low[0] <= SLACK * high[0]:
        return PASS, f"no variance declared; E[z²] of white inputs is multiplied by {high[0]:.3g} in every layer"
    return SKIP, (
        f"no variance declared, so not judged: E[z²] of white inputs is multiplied by {low[0]:.3g} at {low[1]} and by "
        f"{high[0]:.3g} at {high[1]}"
    )


def reaches_the_output_variance(evidence: Evidence) -> Found:
    """Every layer's output has the variance that a procedure declares, the first layer's included."""
    wanted = evidence.subject.output_variance
    if wanted is None:
        return SKIP, "declares no variance of its outputs"
    faults, layers, off = [], 0, 0.0
    for case in evidence.cases:
        if case.specimen.name == "normalized":
            continue  # what a procedure lets batch normalization and dropout do meanwhile is its own affair
        # Of the layers whose bias is filled as well: one that is frozen adds a variance of its own.
        names = [item.layer.name for item in case.assignments if item.adjusted and item.is_bias]
        seen = _output_variances(filled_model(evidence.subject, case.specimen, seed=0), names, case.specimen.sample())
        layers += len(seen)
        off = max([off, *(abs(value / wanted - 1) for value in seen.values())])
        faults += [
            f"the output of {case.at(name)} has variance {value:.3g}, declared {wanted:.3g}"
            for name, value in seen.items()
            if abs(value / wanted - 1) > TOLERANCE
        ]
    return found(faults, f"{layers} outputs within {off:.2%} of the variance {wanted:g}")


def _tell(compared: list[tuple[Law, Tensor, float, float]]) -> bool:
    """Whether more is compared than biases that are zero."""
    return any(not law.item.is_bias or not law.item.rule.deterministic for law, *_ in compared)


def _compared(word: str, compared: list[tuple[Law, Tensor, float, float]]) -> Found:
    """Compare means over draws with what is declared: (law, one value a draw, declared, size of what averages out)."""
    faults, furthest, fine = [], -1.0, ""
    for law, seen, declared, size in compared:
        value, error = float(seen.mean()), float(seen.std()) / math.sqrt(len(seen))
        exact = SLACK * max(abs(declared) if not size else 0.0, size) + 1e-6 * law.item.rule.mean**2 + 1e-30
        if size == 0 and declared == 0:
            exact = 1e-9 * (1 + law.item.rule.mean**2)
        off = abs(value - declared) / (ERRORS * error + exact)
        told = f"{word} {value:.4g}, declared {declared:.4g}, in {with_widths(law.case, law.item)}"
        if off > 1:
            faults.append(told)
        elif off > furthest:
            furthest, fine = off, told
    return found(faults, f"{len(compared)} tensors, {DRAWS} draws of each; furthest off: {fine}")


def _undeclared_gains(evidence: Evidence) -> list[tuple[float, str]]:
    """By what E[z²] is multiplied in the layers whose rule declares no variance, in one draw."""
    gains = []
    for case, item in filled(evidence):
        if item.is_bias or item.adjusted or item.rule.variance is not None:
            continue
        layer, values = item.layer, case.after.values[item.parameter].double()
        gain = float(values.square().sum()) / (layer.block[0] * layer.groups)
        gains.append((gain, with_widths(case, item)))
    return gains


def _output_variances(model: nn.Module, names: Sequence[str], sample: Sample) -> dict[str, float]:
    found: dict[str, float] = {}
    for name in names:
        model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: found.update({name: float(output.double().var())})
        )
    with torch.no_grad():
        model.eval()(*sample.inputs)
    return found
