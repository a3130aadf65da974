"""Which schemes are best before the first step: those with the fewest problems, or that carry a signal furthest."""

from initbench.analysis.step_zero.checks import severity
from initbench.analysis.step_zero.inspection import Inspection
from initbench.analysis.step_zero.scans import reach


def best_at_step_zero(inspection: Inspection) -> tuple[str, ...]:
    """Return the schemes with the fewest FAILs, then WARNs, or along a scan with the furthest reach; none unchecked."""
    if inspection.axis:
        holds_to = {scheme: reach(inspection, scheme).holds_to for scheme in inspection.schemes}
        furthest = max((value for value in holds_to.values() if value is not None), default=None)
        return tuple(scheme for scheme, value in holds_to.items() if value is not None and value == furthest)
    checked = {scheme: severity(checks) for (_, scheme), checks in inspection.checks.items() if checks}
    return tuple(scheme for scheme, problems in checked.items() if problems == min(checked.values()))
