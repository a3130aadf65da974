"""Verdicts on step 0 ready to be shown: a row a scheme with a level a check, then the reasons and what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from initbench.analysis.step_zero.checks import Check, Level, worst_level
from initbench.analysis.step_zero.scans import Reach
from initbench.core.text import printable
from initbench.report.cells import NOTHING, Table

CAPTION = "Verdict on step 0, the worst of the checks, and what each check says"
Key = TypeVar("Key", bound=tuple[str, ...])
OPEN_ROWS = 12  # of reasons shown unfolded; a scan has a hundred


@dataclass(frozen=True)
class Reason:
    """What a check says that does not pass, and what to do."""

    level: Level
    text: str
    remedy: str


@dataclass(frozen=True)
class Reasons:
    """What is told of one scheme, what fails first, and what passed; `open` where it is shown unfolded."""

    title: str
    verdict: Level
    told: tuple[Reason, ...]
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
    told = {key: of for key, of in checks.items() if of}
    if not told:
        return None
    order = list(dict.fromkeys(key[-1] for key in told))
    told = {key: told[key] for key in sorted(told, key=lambda key: order.index(key[-1]))}
    shown = [len(heads) - 1, *(i for i in range(len(heads) - 1) if len({key[i] for key in told}) > 1)]
    names = list(dict.fromkeys(check.name for of in told.values() for check in of))
    titles = {key: [printable(key[i]) for i in shown] for key in told}
    rows = tuple((*titles[key], worst_level(of), *_levels(of, names)) for key, of in told.items())
    table = Table(caption, (*(heads[i] for i in shown), "verdict", *map(printable, names)), rows)
    unfold = len(told) <= OPEN_ROWS
    return StepZeroSection(table, tuple(_reasons(", ".join(titles[key]), of, unfold) for key, of in told.items()))


def holds_to(reach: Reach) -> str:
    """Return the last depth or width at which no check fails, `64 or more` where none fails at all."""
    if reach.holds_to is None:
        return NOTHING
    return f"{reach.holds_to}" if reach.fails_at is not None else f"{reach.holds_to} or more"


def _levels(checks: Sequence[Check], names: Sequence[str]) -> list[str]:
    by_name = {check.name: check.level for check in checks}
    return [by_name.get(name, NOTHING) for name in names]


def _reasons(title: str, checks: Sequence[Check], unfold: bool) -> Reasons:
    worst = worst_level(checks)
    by_level = [check for level in ("FAIL", "WARN") for check in checks if check.level == level]
    told = tuple(Reason(check.level, _text(check), printable(check.remedy)) for check in by_level)
    passed = tuple(_text(check) for check in checks if check.level == "PASS")
    return Reasons(title, worst, told, passed, unfold and worst != "PASS")


def _text(check: Check) -> str:
    since = f" (starts at {check.layer})" if check.layer else ""
    return printable(f"{check.name}: {check.figure}{since}")
