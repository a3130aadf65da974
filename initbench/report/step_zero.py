"""Verdicts on step 0 as a table: one row per scheme, one column per check; then the reasons and remedies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from initbench.analysis.step_zero.checks import Check, Level, worst_level
from initbench.analysis.step_zero.scans import Reach
from initbench.core.text import printable
from initbench.report.cells import NOTHING, Table

CAPTION = "Step 0: the verdict, which is the worst result of the checks, and the result of each check"
Key = TypeVar("Key", bound=tuple[str, ...])
OPEN_ROWS = 12  # of reasons shown unfolded; a scan has a hundred


@dataclass(frozen=True)
class Reason:
    """The finding of a check that does not pass, and its remedy."""

    level: Level
    text: str
    remedy: str


@dataclass(frozen=True)
class Reasons:
    """The findings on one scheme, failures first, and the checks that passed; `open` if shown unfolded."""

    title: str
    verdict: Level | None
    findings: tuple[Reason, ...]
    passed: tuple[str, ...]
    open: bool


@dataclass(frozen=True)
class StepZeroSection:
    """The table of verdicts and the reasons behind them: all of it plain text without control characters."""

    table: Table
    reasons: tuple[Reasons, ...]


def step_zero_section(
    heads: Sequence[str], checks: Mapping[Key, Sequence[Check]], caption: str = CAPTION
) -> StepZeroSection | None:
    """Return what to show of `checks`, None where there are none.

    Keys are named by `heads`, the scheme last: ("dataset", "model", "scheme"). Of the others, those are shown that
    differ from row to row. The rows of a scheme stand together, in the order of `checks`.
    """
    found = {key: results for key, results in checks.items() if results}
    if not found:
        return None
    order = list(dict.fromkeys(key[-1] for key in found))
    found = {key: found[key] for key in sorted(found, key=lambda key: order.index(key[-1]))}
    shown = [len(heads) - 1, *(i for i in range(len(heads) - 1) if len({key[i] for key in found}) > 1)]
    names = list(dict.fromkeys(check.name for results in found.values() for check in results))
    titles = {key: [printable(key[i]) for i in shown] for key in found}
    verdicts = {key: worst_level(results) or NOTHING for key, results in found.items()}
    rows = tuple((*titles[key], verdicts[key], *_levels(results, names)) for key, results in found.items())
    table = Table(caption, (*(heads[i] for i in shown), "verdict", *map(printable, names)), rows)
    unfold = len(found) <= OPEN_ROWS
    return StepZeroSection(
        table, tuple(_reasons(", ".join(titles[key]), results, unfold) for key, results in found.items())
    )


def holds_to(reach: Reach) -> str:
    """Return the last depth or width at which no check fails, `64 or more` where none fails at all."""
    if reach.holds_to is None:
        return NOTHING
    return f"{reach.holds_to}" if reach.fails_at is not None else f"{reach.holds_to} or more"


def levels_of(reach: Reach) -> list[str]:
    """Return the verdict at each depth or width."""
    return [level or NOTHING for level in reach.levels]


def _levels(checks: Sequence[Check], names: Sequence[str]) -> list[str]:
    by_name = {check.name: check.level for check in checks}
    return [by_name.get(name, NOTHING) for name in names]


def _reasons(title: str, checks: Sequence[Check], unfold: bool) -> Reasons:
    worst = worst_level(checks)
    by_level = [check for level in ("FAIL", "WARN") for check in checks if check.level == level]
    findings = tuple(Reason(check.level, _text(check), printable(check.remedy)) for check in by_level)
    passed = tuple(_text(check) for check in checks if check.level == "PASS")
    return Reasons(title, worst, findings, passed, unfold and worst != "PASS")


def _text(check: Check) -> str:
    since = f" (starts at {check.layer})" if check.layer else ""
    return printable(f"{check.name}: {check.figure}{since}")
