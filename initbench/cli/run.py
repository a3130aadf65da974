"""`initbench run`: train schemes over the seeds."""

from typing import Annotated

from initbench.cli import options
from initbench.cli.axes import Axes
from initbench.cli.building import Without
from initbench.cli.console import command, kept
from initbench.cli.early import compile_early


@command
def run(
    axes: Annotated[Axes, Without("baseline")],
    where: options.Where,
    output: Annotated[options.Output, Without("all_pairs")],
    plain: options.Plain = False,  # noqa: ARG001 - read by `console.command`
) -> None:
    """Train one scheme over several seeds: table, loss curves, plots."""
    compile_early(needed=not output.dry_run, quiet=output.quiet)
    with kept():
        import scipy.stats  # noqa: F401 - else it loads in the middle, and the collector takes as long again

        from initbench.cli.grid import run_grid
        from initbench.errors import UsageError
        from initbench.running.plan import draft_of

    if "schemes" not in axes:
        raise UsageError("run needs a scheme: write --scheme kaiming, or `initbench compare` for a set of them.")
    run_grid("run", draft_of(None, axes, origin="--"), where, output)
