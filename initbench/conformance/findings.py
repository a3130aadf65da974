"""What a check returns, and the words in which it says what it saw."""

from typing import Final, Literal

from initbench.conformance.evidence import Case, Evidence
from initbench.schemes import Assignment

Outcome = Literal["PASS", "FAIL", "SKIP"]
PASS: Final = "PASS"  # noqa: S105 - no password
FAIL: Final = "FAIL"
SKIP: Final = "SKIP"
ERRORS = 7.0  # so many standard errors are no accident: below 1 in a million with 23 degrees of freedom
SLACK = 1e-3  # relative, for float32 sums of what is exact (orthogonal matrices)

Found = tuple[Outcome, str]  # how a check ended, and what was seen, or why nothing was looked at


def found(faults: list[str], fine: str) -> Found:
    """Make a finding of faults, the first in words, or of what was fine."""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return (FAIL, faults[0] + more) if faults else (PASS, fine)


def with_widths(case: Case, item: Assignment) -> str:
    """Name a weight with what it maps to what."""
    outputs, inputs, *kernel = item.layer.block
    size = f", {'×'.join(map(str, kernel))}" if kernel else ""
    return f"{case.at(item.parameter)} ({inputs} → {outputs}{size})"


def no_law(evidence: Evidence) -> str:
    """Say why there is no law to compare with."""
    if evidence.subject.procedure:
        return "a procedure adjusts the weights, and declares no law of their entries"
    return "declares no variance of its entries, for they are no draws of one law"
