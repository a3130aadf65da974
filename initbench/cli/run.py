"""`initbench run`: train schemes over the seeds."""

from typing import Annotated

from initbench.cli import options
from initbench.cli.axes import Axes
from initbench.cli.building import Without
from initbench.cli.console import command, gc_frozen


@command
def run(
    axes: Annotated[Axes, Without("baseline")],
    where: options.Where,
    output: Annotated[options.Output, Without("all_pairs")],
    plain: options.Plain = False,  # noqa: ARG001 - read by `console.command`
) -> None:
    """Train one scheme over several seeds: table, loss curves, plots."""
    with gc_frozen():
        from initbench.cli.planning import run_grid
        from initbench.errors import UsageError
        from initbench.running.plan import draft_of

    if "schemes" not in axes:
        raise UsageError("run needs a scheme: write --scheme kaiming, or `initbench compare` for a set of them.")
    run_grid("run", draft_of(None, axes, origin="--"), where, output)
