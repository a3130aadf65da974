"""`initbench compare`: the default set of schemes, a recipe's, or those given."""

from pathlib import Path
from typing import Annotated

import typer

from initbench.cli import completion, options
from initbench.cli.axes import Axes
from initbench.cli.console import command, gc_frozen
from initbench.cli.names import recipe_at

RecipeFile = Annotated[
    Path | None,
    typer.Argument(
        help="Recipe: a file, or a name of `initbench list experiments`.",
        metavar="FILE|NAME",
        autocompletion=completion.recipe,
    ),
]


@command
def compare(
    axes: Axes,
    where: options.Where,
    output: options.Output,
    recipe: RecipeFile = None,
    plain: options.Plain = False,  # noqa: ARG001 - read by `console.command`
) -> None:
    """Compare schemes over several seeds: tables, curves, plots, a report.

    Flags override the recipe, which overrides the defaults. Stored trials are not trained again.
    """
    with gc_frozen():
        from initbench.cli.planning import run_grid
        from initbench.running.plan import draft_of

    run_grid("compare", draft_of(recipe and recipe_at(recipe), axes, origin="--"), where, output)
