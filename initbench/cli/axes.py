"""The options for a recipe's axes: type, default and help come from `Recipe`; only what a flag adds is here."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from initbench.cli import completion
from initbench.cli.panels import OUTPUT, PLACE, QUESTION, TRAINING
from initbench.core.paths import expand
from initbench.core.spec import is_reference, split_outside_brackets
from initbench.errors import UsageError

if TYPE_CHECKING:
    from initbench.records.axes import Axis


_RANGE = re.compile(r"\s*(\d{1,6})\s*(?:-|\.\.+|to)\s*(\d{1,6})\s*")
_ONE_SEED = re.compile(r"\s*seed\s*=\s*(\d+)\s*")
_TWO_WHOLE = re.compile(r"\s*(\d+),(\d+(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Flag:
    """What the option of an axis has besides its recipe field."""

    metavar: str
    panel: str
    short: str = ""
    complete: Callable[[str], completion.Offers] | None = None


FLAGS = {
    "schemes": Flag("SCHEME", QUESTION, "-s", completion.scheme),
    "model": Flag("MODEL", QUESTION, "-m", completion.model),
    "dataset": Flag("DATASET", QUESTION, "-d", completion.dataset),
    "optimizer": Flag("OPTIMIZER", QUESTION, "-o", completion.optimizer),
    "lr": Flag("LR,...", QUESTION, complete=completion.rate),
    "seeds": Flag("N|SEED,...", QUESTION),
    "vary": Flag("AXES", QUESTION, complete=completion.vary),
    "baseline": Flag("SCHEME", QUESTION, complete=completion.scheme),
    "target": Flag("ACCURACY", QUESTION),
    "batch_size": Flag("N,...", TRAINING),
    "epochs": Flag("N", TRAINING),
    "steps": Flag("N", TRAINING),
    "precision": Flag("TYPE", TRAINING, complete=completion.precision),
    "device": Flag("DEVICE", PLACE, complete=completion.device),
    "name": Flag("NAME", OUTPUT),
}


class Axes(dict[str, Any]):
    """The axes given on the command line, as recipe values; a command that takes this has an option for each axis."""


def axis_options() -> list[Parameter]:
    """Return the options of all axes, as typer reads them from a signature."""
    from initbench.records.axes import axes  # loads pydantic
    from initbench.records.draft import flag_of

    known = axes()
    return [_option(known[name], flag, flag_of(name)) for name, flag in FLAGS.items()]


def _option(axis: "Axis", flag: Flag, long: str) -> Parameter:
    repeatable = list[str] in axis.choices
    kind = list[str] if repeatable else axis.written if axis.written in {int, float} else str
    more = (" Repeatable." if repeatable else "") + (f"  [default: {axis.default}]" if axis.default else "")
    option = typer.Option(
        *filter(None, (flag.short, long)),
        help=axis.description + more,
        metavar=flag.metavar,
        rich_help_panel=flag.panel,
        autocompletion=flag.complete,
    )
    return Parameter(axis.name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])


def axes_given(options: Mapping[str, Any]) -> Axes:
    """Return the options that were given, as recipe values: comma lists become lists of numbers.

    Text that is not a number stays text: the recipe's check reports it with all other mistakes.
    """
    chosen = Axes({name: value for name, value in options.items() if value is not None and value != []})
    for name, kind in (("lr", float), ("seeds", int), ("batch_size", int)):
        if name in chosen:
            chosen[name] = numbers(chosen[name], kind, f"--{name.replace('_', '-')}")
    return Axes({name: _apart(value) if isinstance(value, list) else value for name, value in chosen.items()})


def _apart(values: list[Any]) -> list[Any]:
    """Return names that were given with commas between them, `-s kaiming,xavier`, one by one."""
    return [part for value in values for part in (_names(value) if isinstance(value, str) else [value])]


def _names(text: str) -> list[str]:
    """Split names at commas; a reference and a path may hold commas themselves."""
    names = [part.strip() for part in split_outside_brackets(text, ",")]
    return names if all(names) and not is_reference(text) and not expand(text).exists() else [text]


def numbers(text: str, kind: type[int] | type[float], flag: str) -> Any:  # noqa: ANN401 - one value, or a list
    """Read a number or a comma list of numbers, which may end in a comma; what is not a number stays text.

    Whole numbers may be a range, `0-4`, or one seed, `seed=42`.

    Raises:
        UsageError: what reads as a number with a decimal comma.
    """
    if kind is int and (found := _ONE_SEED.fullmatch(text)):
        return [int(found[1])]
    if kind is int and (found := _RANGE.fullmatch(text)) and (whole := range(int(found[1]), int(found[2]) + 1)):
        return list(whole)
    found = _TWO_WHOLE.fullmatch(text) if kind is float else None
    if found and (found[1] == "0" or not found[2].isdigit() or found[2][0] == "0"):  # 0,05 or 1,5e-2, but not 1,2
        two = "" if found[1] == "0" else f" for one, {found[1]}.0,{float(found[2])} for two"
        raise UsageError(f"{flag}: '{text}' may be one number or two: write {found[1]}.{found[2]}{two}.")
    values = [_number(part.strip(), kind) for part in text.rstrip().removesuffix(",").split(",")]
    return values if "," in text else values[0]


def _number(text: str, kind: type[int] | type[float]) -> float | str:
    try:
        return kind(text)
    except ValueError:
        return text
