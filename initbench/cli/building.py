"""Build a command from its function: a parameter that is a group of options becomes one option per member.

A command is built when it is called, not when the program starts: the axes come from `Recipe`, and pydantic takes a
tenth of a second to load.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from inspect import Parameter
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from initbench.cli.axes import Axes, axes_given, axis_options
from initbench.cli.examples import epilog
from initbench.cli.panels import PanelCommand


@dataclass(frozen=True)
class Without:
    """Marks a group of options of which a command lacks one, as `Annotated[Axes, Without("baseline")]`."""

    name: str


@dataclass(frozen=True)
class Group:
    """A group of options: the parameters that typer sees, and what makes the group's value from theirs."""

    members: tuple[Parameter, ...]
    make: Callable[[dict[str, Any]], Any]


def built(name: str, function: Callable[..., None], summary: str) -> Any:  # noqa: ANN401 - typer's copy of click's type
    """Return the command of a function."""
    program = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    program.command(name, epilog=epilog(name), short_help=summary, cls=PanelCommand)(expanded(function))
    return typer.main.get_command(program)


def expanded(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function that has one parameter per option in place of each group: `Axes` and dataclasses of options.

    >>> @dataclass(frozen=True)
    ... class Where:
    ...     jobs: int = 1
    >>> def run(scheme: str, where: Where) -> None: ...
    >>> list(inspect.signature(expanded(run)).parameters)
    ['scheme', 'jobs']
    """
    hints = get_type_hints(function, include_extras=True)
    own = inspect.signature(function).parameters
    groups = {name: group for name in own if (group := _group(hints[name])) is not None}

    def called(**options: Any) -> None:  # noqa: ANN401 - one value per option
        for name, group in groups.items():
            options[name] = group.make({member.name: options.pop(member.name) for member in group.members})
        function(**options)

    options: list[Parameter] = []
    for name, parameter in own.items():
        plain = parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[name])
        options += groups[name].members if name in groups else [plain]
    called.__name__, called.__doc__ = function.__name__, function.__doc__
    called.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return called


def _group(annotation: Any) -> Group | None:  # noqa: ANN401 - any type
    """Return the group that a parameter's annotation names, None for an option of its own."""
    kind, *marks = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    left_out = {mark.name for mark in marks if isinstance(mark, Without)}
    if kind is Axes:
        return Group(tuple(option for option in axis_options() if option.name not in left_out), axes_given)
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return None
    hints = get_type_hints(kind, include_extras=True)
    members = (
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in fields(kind)
        if field.name not in left_out
    )
    return Group(tuple(members), lambda values: kind(**values))
