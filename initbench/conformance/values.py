"""Checks of the values: finite, determined by the seed, different per layer, equal in all precisions and devices."""

import math

import torch
from torch import Tensor

from initbench.conformance.observations import (
    ERRORS,
    SKIP,
    SLACK,
    Case,
    Finding,
    Observations,
    blocks_of,
    declared_variance,
    filled_model,
    filled_tensors,
    finding,
    gap,
    is_drawn,
    values_of,
    why_no_variance,
)
from initbench.core import usercode
from initbench.schemes import Assignment
from initbench.signals.measures import row_faults

OUTLIER = 100.0  # declared standard deviations; the heaviest published tail, Beta(2, 1) among 288 others, reaches 18
LIMITS = {torch.float64: 1e-6, torch.bfloat16: 0.01}  # of the largest entry: two roundings
LEAST_ALIKE = 8  # nonzero entries, enough that two draws cannot agree by chance


def is_finite(observations: Observations) -> Finding:
    """All entries are finite."""
    faults, largest, where = [], 0.0, ""
    for case, item in filled_tensors(observations):
        for values in (case.after.values[item.parameter], case.other[item.parameter]):
            wrong = int((~values.isfinite()).sum())
            if wrong:
                faults.append(f"not finite: {wrong} of {values.numel()} entries of {case.label(item.parameter)}")
            elif values.numel() and float(values.abs().max()) >= largest:
                largest, where = float(values.abs().max()), case.label(item.parameter)
    return finding(faults, f"largest entry {largest:.3g}, in {where}")


def has_no_outliers(observations: Observations) -> Finding:
    """No entry is more than `OUTLIER` declared standard deviations from the mean."""
    faults, furthest, where = [], 0.0, ""
    for case, item in filled_tensors(observations):
        variance = declared_variance(item)
        if not variance > 0:
            continue
        for values in (case.after.values[item.parameter], case.other[item.parameter]):
            out = float((values - item.rule.mean).abs().max()) / math.sqrt(variance)
            if out > OUTLIER:
                faults.append(f"an entry of {case.label(item.parameter)} is {out:.0f} standard deviations off")
            elif out >= furthest:
                furthest, where = out, case.label(item.parameter)
    if not where and not faults:
        return SKIP, why_no_variance(observations)
    return finding(faults, f"furthest entry {furthest:.1f} declared standard deviations from the mean, in {where}")


def follows_the_seed(observations: Observations) -> Finding:
    """A seed gives the same weights, whatever they were before; other seeds give others, unless deterministic."""
    faults, same, drawn = [], 0, 0
    for case in observations.cases:
        for item in case.assignments:
            first, again, other = (v[item.parameter] for v in (case.after.values, case.again, case.other))
            at = case.label(item.parameter)
            if not torch.equal(first, again):
                faults.append(f"{at} differs between two fills with seed 0 by {gap(first, again):.3g}")
            elif is_drawn(item) and torch.equal(first, other) and not (item.adjusted and is_constant(first)):
                faults.append(f"{at} is the same with seeds 0 and 1, but not declared deterministic")
            elif not item.adjusted and item.rule.deterministic and not torch.equal(first, other):
                faults.append(f"{at} is declared deterministic, but differs between seeds 0 and 1")
            same, drawn = same + 1, drawn + (is_drawn(item) and not item.adjusted)
    return finding(faults, f"{same} tensors equal when filled again with seed 0; {drawn} drawn ones differ with seed 1")


def is_constant(values: Tensor) -> bool:
    """Return whether all entries are one number, which a procedure may set without declaring it."""
    return bool((values == values.flatten()[:1]).all())


def draws_each_layer_apart(observations: Observations) -> Finding:
    """No two layers or groups of one shape hold the same values up to a factor."""
    faults, pairs = [], 0
    for case in observations.cases:
        seen: dict[tuple[int, ...], list[tuple[str, Tensor]]] = {}
        for item in case.assignments:
            if item.is_bias or not is_drawn(item):
                continue
            for block in blocks_of(item.layer, case.after.values[item.parameter]):
                if int(block.count_nonzero()) < LEAST_ALIKE:
                    continue
                unit = block / block.norm()
                for name, earlier in seen.setdefault(tuple(block.shape), []):
                    pairs += 1
                    if torch.allclose(unit, earlier, rtol=1e-4, atol=1e-6):
                        faults.append(f"{name} and {case.label(item.parameter)} hold the same values")
                seen[tuple(block.shape)].append((item.parameter, unit))
    if not pairs:
        return SKIP, "no two drawn blocks of one shape"
    return finding(faults, f"{pairs} pairs of blocks of one shape, no two alike")


def has_rows_of_its_own(observations: Observations) -> Finding:
    """No row is zero or a multiple of another, unless the rule is declared degenerate."""
    faults, rows, declared = [], 0, 0
    for case in observations.cases:
        for item in case.assignments:
            if item.is_bias:
                continue
            counts = [_faulty_rows(block) for block in blocks_of(item.layer, case.after.values[item.parameter])]
            zero, same, opposite = map(sum, zip(*counts, strict=True))
            if item.rule.degenerate:
                declared += zero + same + opposite > 0
                continue
            rows += item.layer.block[0] * item.layer.groups
            if zero or same or opposite:
                faults.append(
                    f"{case.label(item.parameter)} has {zero} zero, {same} equal and {opposite} opposite rows"
                )
    by_design = f"declared degenerate: {declared} tensors hold zero, equal or opposite rows" if declared else ""
    if not rows:
        return SKIP, by_design or "declared degenerate"
    return finding(faults, "; ".join(filter(None, [f"{rows} rows, none zero, equal or opposite", by_design])))


def works_in_every_precision(observations: Observations) -> Finding:
    """bfloat16 gives the float32 weights up to rounding; float64 too, or other draws of the same size."""
    faults, worst = [], 0.0
    for case in observations.cases[: 2 if observations.subject.procedure else None]:
        for dtype, limit in LIMITS.items():
            try:
                values = values_of(filled_model(observations.subject, case.model, seed=0, dtype=dtype))
            except Exception as error:  # noqa: BLE001 - whatever a scheme raises is a finding
                faults.append(f"in {dtype} it raises {usercode.describe_error(error)}")
                continue
            for item in case.assignments:
                off = _rounding(case, item, values[item.parameter], dtype)
                worst = max(worst, off)
                if not off <= limit:
                    faults.append(f"{case.label(item.parameter)} differs in {dtype} by {off:.2g} of its largest entry")
    faults += [] if observations.subject.procedure else _size_in_double(observations)
    return finding(faults, f"finite in float32, float64 and bfloat16; bfloat16 within {worst:.1g} of the largest entry")


def same_on_the_accelerator(observations: Observations) -> Finding:
    """The weights on an accelerator are those on the CPU, bit for bit."""
    kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else ""
    if not kind:
        return SKIP, "no accelerator on this machine"
    faults = []
    for case in observations.cases[: 2 if observations.subject.procedure else None]:
        values = values_of(filled_model(observations.subject, case.model, seed=0, device=kind))
        faults += [
            f"{case.label(item.parameter)} differs on {kind} by {gap(case.after.values[item.parameter], own):.3g}"
            for item in case.assignments
            if not torch.equal(own := values[item.parameter], case.after.values[item.parameter])
        ]
    return finding(faults, f"equal bit for bit on cpu and {kind}")


def _faulty_rows(block: Tensor) -> tuple[int, int, int]:
    """Count zero, equal and opposite rows; with one input, where all rows are multiples, count zero rows only."""
    rows = block.flatten(1)
    if rows.shape[1] > 1:
        return row_faults(rows)
    return int((rows == 0).all(dim=1).sum()), 0, 0


def _rounding(case: Case, item: Assignment, values: Tensor, dtype: torch.dtype) -> float:
    """Return the largest difference from the float32 values relative to the largest value; 0 if they may differ."""
    if values.dtype != dtype or not bool(values.isfinite().all()):
        return math.inf
    if item.adjusted or (dtype == torch.float64 and is_drawn(item)):
        return 0.0
    wanted = case.after.values[item.parameter]
    return gap(wanted, values) / max(float(wanted.abs().max()), torch.finfo(torch.float32).tiny)


def _size_in_double(observations: Observations) -> list[str]:
    """Return a fault per tensor whose second moment in float64 differs from that of float32 draws."""
    faults, filled = [], dict[str, dict[str, Tensor]]()
    for draws in observations.tensor_draws:
        model = draws.case.model
        if model.name not in filled:
            filled[model.name] = values_of(filled_model(observations.subject, model, seed=0, dtype=torch.float64))
        moment = float((filled[model.name][draws.item.parameter] - draws.item.rule.mean).square().mean())
        usual, spread = float(draws.moments.mean()), float(draws.moments.std())
        if abs(moment - usual) > (ERRORS + 1) * spread + SLACK * usual + 1e-12 * draws.item.rule.mean**2:
            faults.append(
                f"{draws.case.label(draws.item.parameter)} has second moment {moment:.4g} in float64, not {usual:.4g}"
            )
    return faults
