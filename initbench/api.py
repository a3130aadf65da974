"""`initbench.compare`: the command of that name as a function; its parameters for the axes derive from `Recipe`."""

import functools
import inspect
import os
import textwrap
import warnings
from collections.abc import Callable
from inspect import Parameter
from pathlib import Path
from typing import Any

from torch import nn

from initbench.bar import bar_shown
from initbench.comparison import Comparison
from initbench.core import usercode
from initbench.errors import InitbenchWarning, UsageError
from initbench.records.axes import Axis, axes
from initbench.running.executor import choose_backend
from initbench.running.plan import draft_of, plan_study
from initbench.running.runner import carry_out
from initbench.schemes.functions import scheme_text

NAMED = ("schemes", "model", "baseline")  # the axes that may be given as functions
FIRST = ("schemes", "model", "dataset")  # the axes that may be given by position


def _with_axes(function: Callable[..., Comparison]) -> Callable[..., Comparison]:
    """Replace the first parameter, a dictionary of axes, by one parameter per axis, with its line in the docstring."""
    known = axes()
    by_position = sorted(known, key=lambda name: name not in FIRST)
    signature = inspect.signature(function)
    parameters = [
        Parameter(
            name,
            Parameter.POSITIONAL_OR_KEYWORD if name in FIRST else Parameter.KEYWORD_ONLY,
            default=None,
            annotation=known[name].written | None,
        )
        for name in by_position
    ]
    signature = signature.replace(parameters=[*parameters, *list(signature.parameters.values())[1:]])

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Comparison:  # noqa: ANN401 - as the signature says
        try:
            arguments = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{function.__name__}() {error}") from None
        given = {name: arguments.pop(name, None) for name in known}
        given = text_of_axes(given)
        return function({name: _plain(value) for name, value in given.items() if value is not None}, **arguments)

    called.__signature__ = signature  # type: ignore[attr-defined]
    lines = (f"{name}: {known[name].description}{_default(known[name])}" for name in by_position)
    described = "\n".join(textwrap.fill(line, 108, subsequent_indent=" " * 4) for line in lines)
    called.__doc__ = (function.__doc__ or "").replace("{axes}", textwrap.indent(described, " " * 8).lstrip())
    return called


def _default(axis: Axis) -> str:
    return f" Default: {axis.default}." if axis.default else ""


@_with_axes
def compare(  # noqa: D417 - `_with_axes` replaces `given`
    given: dict[str, Any],
    *,
    recipe: str | Path | None = None,
    jobs: int | None = None,
    executor: str | None = None,
    shared_folder: bool = True,
    trial_timeout: float | None = None,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
) -> Comparison:
    """Train a model from each scheme over several seeds and return the comparison.

    An axis takes one value or a sequence of values. Arguments override `recipe`, which overrides the defaults. Trials
    that are stored in `out` are not trained again.

    Args:
        {axes}
        recipe: Path of a TOML file.
        jobs: Worker processes. Default: one per core.
        executor: "dask" for a cluster of workers on this machine, or the address (tcp://host:8786) or the file of a
            Dask scheduler. Default: processes of this machine.
        shared_folder: Whether the cluster's workers can write to `out` under the same path.
        trial_timeout: Seconds after which a trial is stopped and counts as failed. Default: none.
        data_dir: Folder of datasets, in torchvision's layout.
        out: Results folder. Default: $INITBENCH_OUT or "results".

    Returns:
        The comparison: `.trials` (one row per trial), `.curves` (one row per point), `.layers` (one row per layer at
        step 0), `.summary` (one row per scheme and setting) as DataFrames, losses in nats, accuracies as fractions;
        `.report(path)` writes one HTML file.

    Raises:
        UsageError: an unknown name or a value out of range; all mistakes are listed.
        ConfigurationError: a recipe, dataset, device or folder that cannot be used.

    >>> comparison = compare(["kaiming_uniform", "torch_default"], steps=20, seeds=2)  # doctest: +SKIP
    >>> comparison.summary[["scheme", "learned", "n", "test_accuracy"]]  # doctest: +SKIP
    """
    if file := usercode.importing():
        raise UsageError(f"{file} calls compare() as it is imported: put it under `if __name__ == '__main__':`.")
    backend = choose_backend(executor, jobs, trial_timeout, shared_folder=shared_folder)
    study = plan_study(
        draft_of(Path(recipe) if recipe is not None else None, given, origin="argument"),
        out=Path(out or os.environ.get("INITBENCH_OUT", "results")),
        data_dir=Path(data_dir) if data_dir is not None else None,
        remote=backend.remote,
    )
    for notice in study.notices:
        warnings.warn(notice, InitbenchWarning, stacklevel=3)
    with bar_shown() as observer:
        return carry_out(study, backend, observer)


def text_of_axes(given: dict[str, Any]) -> dict[str, Any]:
    """Replace functions among the values of axes by the texts that name them.

    Raises:
        UsageError: a function that no text can name, or a model that is built already.
    """
    return {name: _as_text(name, value) if name in NAMED else value for name, value in given.items()}


def _as_text(name: str, value: Any) -> Any:  # noqa: ANN401 - one value or a sequence
    if isinstance(value, list | tuple):
        return [_as_text(name, item) for item in value]
    if isinstance(value, nn.Module):
        raise UsageError(f"{name}: {type(value).__name__} is built already: give the function that builds it per seed.")
    if not callable(value):
        return value
    if name != "model":
        return scheme_text(value)
    reference = usercode.reference_to(value)
    if reference is None:
        raise UsageError(
            f"{name}: {value!r} cannot be found by other processes: write it at the top of a file, and give it or the "
            "text 'file.py:name'."
        )
    return reference


def _plain(value: Any) -> Any:  # noqa: ANN401 - an axis takes one value or any sequence of them
    return value if isinstance(value, str | int | float) else list(value)
