"""The conditions of `--fail-if`: a number of the summary compared with another or with a constant."""

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from initbench.analysis.summary import PLACE, SETTING, SUMMARY_COLUMNS
from initbench.core.spec import did_you_mean, outside_brackets
from initbench.errors import UsageError
from initbench.records.recipe import Place

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
COLUMNS = tuple(column for column, kind in SUMMARY_COLUMNS.items() if kind != "str" and column not in SETTING)
_FORM = "write <scheme>.<column> < <scheme>.<column> or a number, with <, <=, > or >="


@dataclass(frozen=True)
class Operand:
    """A number of the summary: one `column` in the row of a `scheme`."""

    scheme: str
    column: str

    def __str__(self) -> str:
        return f"{self.scheme}.{self.column}"


@dataclass(frozen=True)
class Condition:
    """A condition of `--fail-if`: a number of the summary, a comparison, and another such number or a constant."""

    left: Operand
    comparison: str
    right: Operand | float

    @property
    def schemes(self) -> tuple[str, ...]:
        """The schemes that the condition names."""
        return tuple(side.scheme for side in (self.left, self.right) if isinstance(side, Operand))

    def __str__(self) -> str:
        right = f"{self.right:g}" if isinstance(self.right, float) else str(self.right)
        return f"{self.left} {self.comparison} {right}"


def parse_condition(text: str, resolve: Callable[[str], str] = str) -> Condition:
    """Read `<scheme>.<column> (<|<=|>|>=) <scheme>.<column> or a number`; `resolve` makes a scheme's text canonical.

    Raises:
        UsageError: the text is not of that form, or a column is not one of the summary's.
    """
    found = list(_operators(text))
    if len(found) != 1:
        raise UsageError(f"'{text}' is not a condition: {_FORM}.")
    start, comparison = found[0]
    left, right = text[:start].strip(), text[start + len(comparison) :].strip()
    return Condition(_operand(left, text, resolve), comparison, _number_or_operand(right, text, resolve))


def check_condition(condition: Condition, summary: pd.DataFrame, pair_on: Sequence[str] = SETTING) -> tuple[bool, str]:
    """Return whether a condition is met in any setting of a summary, and a sentence that names the first such setting.

    A condition that cannot be decided counts as met, and the sentence says why: it guards a build, and a build whose
    trials diverged, failed or are missing must not pass because there was nothing to compare. Two schemes are compared
    where they share `pair_on`; a dataset, model and optimizer in which they share nothing cannot be decided.
    """
    by_place = [rows for _, rows in summary.groupby(list(PLACE), sort=False)]
    checked = [result for rows in by_place for result in _check_rows(condition, rows, pair_on)]
    if not checked:
        return True, f"{condition}: counted as met, because there are no trials."
    met = [sentence for is_met, sentence in checked if is_met]
    if met:
        return True, met[0]
    return False, f"{condition}: not met in {len(checked)} setting(s)."


def _check_rows(condition: Condition, rows: pd.DataFrame, pair_on: Sequence[str]) -> list[tuple[bool, str]]:
    """Check a condition in each setting of the summary's rows of one dataset, model and optimizer."""
    left = rows[rows["scheme"] == condition.left.scheme]
    where = str(Place(*(rows[name].iloc[0] for name in PLACE)))
    absent = [scheme for scheme in condition.schemes if scheme not in set(rows["scheme"])]
    if absent:
        near = did_you_mean(absent[0], list(rows["scheme"]))
        return [(True, f"{condition}: counted as met, because {absent[0]} has no trial in {where}{near or '.'}")]
    if isinstance(condition.right, float):
        pairs = [(row, condition.right) for row in left.to_dict("records")]
        return [_compare(condition, row, row[condition.left.column], right) for row, right in pairs]
    right = rows.loc[rows["scheme"] == condition.right.scheme, [*pair_on, condition.right.column]]
    both = left[[*pair_on, condition.left.column]].merge(right, on=list(pair_on), suffixes=("", " of right"))
    names = condition.left.column, condition.right.column
    other = f"{names[1]} of right" if names[0] == names[1] else names[1]
    if both.empty:
        return [(True, f"{condition}: counted as met, because the schemes share no setting in {where}.")]
    return [_compare(condition, row, row[names[0]], row[other]) for row in both.to_dict("records")]


def _compare(condition: Condition, row: Mapping[str, Any], left: float, right: float) -> tuple[bool, str]:
    place = Place(*(row[name] for name in PLACE))
    where = f"{place}, lr {row['lr']:g}" if "lr" in row else str(place)
    if pd.isna(left) or pd.isna(right):
        missing = condition.left if pd.isna(left) else condition.right
        return True, f"{condition}: counted as met, because {missing} has no value in {where}."
    is_met = COMPARISONS[condition.comparison](left, right)
    return is_met, f"{condition}: {'met' if is_met else 'not met'} in {where} ({left:.6g} against {right:.6g})."


def _operators(text: str) -> Iterable[tuple[int, str]]:
    """Yield the comparisons outside brackets and quotes, which belong to a scheme, after their positions."""
    for place, char in outside_brackets(text):
        if char in "<>":
            yield place, text[place : place + 2] if text[place + 1 : place + 2] == "=" else char


def _operand(side: str, text: str, resolve: Callable[[str], str]) -> Operand:
    scheme, _, column = side.rpartition(".")
    if not scheme.strip():
        raise UsageError(f"'{side}' in '{text}' does not name a column of a scheme: {_FORM}.")
    if column not in COLUMNS:
        known = ", ".join(COLUMNS)
        raise UsageError(
            f"'{column}' in '{text}' is not a column{did_you_mean(column, list(COLUMNS)) or f' (known: {known}).'}"
        )
    return Operand(resolve(scheme.strip()), column)


def _number_or_operand(side: str, text: str, resolve: Callable[[str], str]) -> Operand | float:
    try:
        value = float(side)
    except ValueError:
        return _operand(side, text, resolve)
    if not math.isfinite(value):
        raise UsageError(f"'{side}' in '{text}' is not finite: write a finite number.")
    return value
