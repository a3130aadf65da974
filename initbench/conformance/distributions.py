"""Checks of the mean and variance that a rule declares, and of their effect on a signal."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from initbench.conformance.observations import (
    DRAWS,
    ERRORS,
    PASS,
    SKIP,
    SLACK,
    Finding,
    Observations,
    TensorDraws,
    filled_model,
    filled_tensors,
    finding,
    why_no_variance,
    with_widths,
)
from initbench.schemes import Sample

TOLERANCE = 0.05  # relative, of an output's variance on the batch that the procedure used; sums run in another order


def has_the_declared_variance(observations: Observations) -> Finding:
    """The second moment about the declared mean equals the declared variance, within sampling error."""
    compared = [
        (draws, draws.moments, draws.variance, 0.0)
        for draws in observations.tensor_draws
        if not math.isnan(draws.variance)
    ]
    return _compared("variance", compared) if _has_content(compared) else (SKIP, why_no_variance(observations))


def has_the_declared_mean(observations: Observations) -> Finding:
    """The mean of the entries equals the declared mean, within sampling error."""
    compared = [
        (draws, draws.means, draws.item.rule.mean, math.sqrt(draws.variance))
        for draws in observations.tensor_draws
        if not math.isnan(draws.variance)
    ]
    return _compared("mean", compared) if _has_content(compared) else (SKIP, why_no_variance(observations))


def keeps_the_signal_it_declares(observations: Observations) -> Finding:
    """Where layers widen or narrow, E[z²] of white inputs changes only as the declared variance implies."""
    compared = [(draws, draws.gains, draws.gain, 0.0) for draws in observations.tensor_draws if not draws.item.is_bias]
    if compared:
        return _compared("E[z²]", compared)
    gains = _undeclared_gains(observations)
    if not gains:
        return SKIP, why_no_variance(observations)
    low, high = min(gains, key=lambda item: item[0]), max(gains, key=lambda item: item[0])
    if high[0] - low[0] <= SLACK * high[0]:
        return PASS, f"no variance declared; E[z²] of white inputs is multiplied by {high[0]:.3g} in every layer"
    return SKIP, (
        f"no variance declared, so not checked: E[z²] of white inputs is multiplied by {low[0]:.3g} at {low[1]} and by "
        f"{high[0]:.3g} at {high[1]}"
    )


def reaches_the_output_variance(observations: Observations) -> Finding:
    """Every layer's output, the first included, has the variance that a procedure declares."""
    wanted = observations.subject.output_variance
    if wanted is None:
        return SKIP, "declares no output variance"
    faults, layers, off = [], 0, 0.0
    for case in observations.cases:
        if case.model.name == "normalized":
            continue  # a procedure may treat batch normalization and dropout in its own way
        # Only layers whose bias is filled: a frozen bias adds variance of its own.
        names = [item.layer.name for item in case.assignments if item.adjusted and item.is_bias]
        seen = _output_variances(filled_model(observations.subject, case.model, seed=0), names, case.model.sample())
        layers += len(seen)
        off = max([off, *(abs(value / wanted - 1) for value in seen.values())])
        faults += [
            f"the output of {case.label(name)} has variance {value:.3g}, declared {wanted:.3g}"
            for name, value in seen.items()
            if abs(value / wanted - 1) > TOLERANCE
        ]
    return finding(faults, f"{layers} outputs within {off:.2%} of the variance {wanted:g}")


def _has_content(compared: list[tuple[TensorDraws, Tensor, float, float]]) -> bool:
    """Return whether anything but zero biases is compared."""
    return any(not draws.item.is_bias or not draws.item.rule.deterministic for draws, *_ in compared)


def _compared(word: str, compared: list[tuple[TensorDraws, Tensor, float, float]]) -> Finding:
    """Compare means over draws with declared values: (draws, one value per draw, declared, scale of the noise)."""
    faults, furthest, fine = [], -1.0, ""
    for draws, seen, declared, size in compared:
        value, error = float(seen.mean()), float(seen.std()) / math.sqrt(len(seen))
        exact = SLACK * max(abs(declared) if not size else 0.0, size) + 1e-6 * draws.item.rule.mean**2 + 1e-30
        if size == 0 and declared == 0:
            exact = 1e-9 * (1 + draws.item.rule.mean**2)
        off = abs(value - declared) / (ERRORS * error + exact)
        text = f"{word} {value:.4g}, declared {declared:.4g}, in {with_widths(draws.case, draws.item)}"
        if off > 1:
            faults.append(text)
        elif off > furthest:
            furthest, fine = off, text
    return finding(faults, f"{len(compared)} tensors, {DRAWS} draws of each; furthest off: {fine}")


def _undeclared_gains(observations: Observations) -> list[tuple[float, str]]:
    """Return the factor by which each layer without a declared variance multiplies E[z²], in one draw."""
    gains = []
    for case, item in filled_tensors(observations):
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
