"""The answer of an inspection, in one sentence: which schemes pass the checks at step 0, and what the others fail."""

from collections.abc import Iterator, Sequence

from initbench.analysis.step_zero.best import best_at_step_zero
from initbench.analysis.step_zero.checks import Check, severity, worst_level
from initbench.analysis.step_zero.inspection import Inspection
from initbench.analysis.step_zero.scans import reach, scanned_values
from initbench.core.text import printable
from initbench.core.words import counted, joined, quoted

_FEW = 3  # schemes or checks that are named in a sentence; of more, the number


def step_zero_answer(inspection: Inspection) -> str:
    """Return the answer, as plain text."""
    if not any(inspection.checks.values()):
        return "Nothing was checked: the network has no Linear and no convolution."
    return printable(_along(inspection) if inspection.axis else _at_one(inspection))


def _along(inspection: Inspection) -> str:
    """Return how far the signal is carried along a scan: by the best, then by the others."""
    best, axis, places = best_at_step_zero(inspection), inspection.axis, scanned_values(inspection)
    seeds = _seeds(inspection)
    if not best:
        return f"No scheme carries signal and gradient even to {axis} {places[0]} ({seeds})."
    holds_to = {scheme: reach(inspection, scheme).holds_to for scheme in inspection.schemes}
    furthest = holds_to[best[0]]
    every = " (the largest scanned)" if furthest == places[-1] else ""
    carry = "carries" if len(best) == 1 else "carry"
    told = f"{_names(best)} {carry} signal and gradient to {axis} {furthest}{every}, {seeds}"
    others = [scheme for scheme in inspection.schemes if scheme not in best]
    reached = [f"{quoted(s)} {f'to {holds_to[s]}' if holds_to[s] is not None else 'not at all'}" for s in others]
    return "; ".join([told, *_few(reached)]) + "."


def _at_one(inspection: Inspection) -> str:
    """Return which schemes pass, then what the others fail, from the fewest problems to the most."""
    model = inspection.models[0]
    checks = {scheme: inspection.checks[model, scheme] for scheme in inspection.schemes}
    passed = [scheme for scheme in checks if worst_level(checks[scheme]) == "PASS"]
    others = sorted((s for s in checks if s not in passed), key=lambda scheme: severity(checks[scheme]))
    every = f"all {counted(len(next(iter(checks.values()))), 'check')} at step 0 ({_seeds(inspection)})"
    if len(checks) == 1 and others:
        return f"{quoted(others[0])} does not pass {every}: {'; '.join(_findings(checks[others[0]]))}."
    passes = "passes" if len(passed) == 1 else "pass"
    told = f"{_names(passed)} {passes} {every}" if passed else f"No scheme passes {every}"
    problems = [f"{quoted(scheme)}: {_problems(checks[scheme])}" for scheme in others]
    return "; ".join([told, *_few(problems)]) + "."


def _findings(checks: Sequence[Check]) -> Iterator[str]:
    """Yield the findings of the worst level, each with what was measured."""
    worst = worst_level(checks)
    yield from _few([f"{worst} in {check.name} ({check.figure})" for check in checks if check.level == worst])


def _problems(checks: Sequence[Check]) -> str:
    worst = worst_level(checks)
    return f"{worst} in {joined(_few([check.name for check in checks if check.level == worst]))}"


def _names(schemes: Sequence[str]) -> str:
    return joined(_few([quoted(scheme) for scheme in schemes]))


def _few(parts: Sequence[str]) -> list[str]:
    """Return the first parts, then how many more there are."""
    left = len(parts) - _FEW
    return [*parts] if left <= 0 else [*parts[:_FEW], f"{left} more"]


def _seeds(inspection: Inspection) -> str:
    return counted(len({network.seed for network in inspection.observed}), "seed")
