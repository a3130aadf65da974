"""The main path of `run` and `compare`: plan; then show the plan, the answer of last time, or train and show results.

A plan of built-in networks and schemes loads no torch: what trains and what shows results is imported after it.
"""

import sys
from contextlib import ExitStack, redirect_stdout
from typing import TYPE_CHECKING, Any

from initbench.cli import console
from initbench.cli.again import recalled, show_again
from initbench.cli.options import Output, Where
from initbench.core.interrupts import command_line, kept_as_interrupt
from initbench.records.draft import Draft
from initbench.running.forecast import forecast
from initbench.running.foreseen import too_few_seeds
from initbench.running.plan import plan_study
from initbench.running.study import Study

if TYPE_CHECKING:
    from initbench.running.backend import Backend


def run_grid(verb: str, draft: Draft, where: Where, output: Output) -> None:
    """Run a grid of trials and show the results."""
    cluster = _backend(where) if where.executor is not None else None
    with ExitStack() as stack:
        try:
            with kept_as_interrupt():
                study = _plan(verb, draft, where, output, remote=cluster is not None)
                if output.dry_run:
                    _show_plan(study, where, output)
                    return
                found = recalled(study, output)
                if found is None:
                    from initbench.cli.head_start import head_start

                    stack.enter_context(head_start(study, where, output))
                    with console.gc_frozen():
                        from initbench.cli.grid import train_grid
        except KeyboardInterrupt:
            console.say(f"Interrupted before training began. To continue: {command_line()}")
            raise
        if found is not None:
            show_again(found, study, output)
        else:
            train_grid(study, cluster or _backend(where), output)


def _backend(where: Where) -> "Backend":
    from initbench.running.executor import choose_backend

    return choose_backend(where.executor, where.jobs, where.trial_timeout, shared_folder=where.shared_folder)


def _plan(verb: str, draft: Draft, where: Where, output: Output, *, remote: bool) -> Study:
    """Check all input before anything is trained or written."""
    with redirect_stdout(sys.stderr):  # user code may print, and stdout is for data
        _check_conditions(output)
        study = plan_study(draft, where.out, where.data_dir, verb=verb, command=command_line(), remote=remote)
    # As warnings of the library they would be in the way of everyone who takes a quick look.
    for notice in (*study.notices, *too_few_seeds(study.recipe)) if not output.quiet else ():
        console.notice(notice)
    return study


def _check_conditions(output: Output) -> None:
    if output.fail_if:
        from initbench.cli.grid import conditions_of  # loads pandas

        conditions_of(output)


def _show_plan(study: Study, where: Where, output: Output) -> None:
    """Show the grid of a dry run and how long it would take, on stdout."""
    recipe, trials, todo = study.recipe, study.all_trials, study.todo
    stored, expected = len(trials) - len(todo), forecast(todo, study.out, where.jobs)
    axes: dict[str, Any] = {
        "schemes": list(recipe.schemes),
        "model": list(recipe.model),
        "dataset": [f"{d.name} ({d.train_size} train)" for d in study.datasets.values()],
        "optimizer": list(recipe.optimizer),
        "lr": list(recipe.lr),
        **({"tuning_seeds": list(recipe.tuning_seeds)} if study.tuning else {}),
        "seeds": list(recipe.seeds),
        "batch_size": recipe.batch_size[0] if len(recipe.batch_size) == 1 else list(recipe.batch_size),
        "steps": sorted({trial.steps for trial in trials}),
        "baseline": study.baseline,
        "device": study.device,
        "folder": str(study.folder),
    }
    if output.json:
        seconds = expected.seconds if expected.known == len(todo) else None
        console.show_json({"schema": 1, **axes, "trials": len(trials), "stored": stored, "seconds": seconds})
        return
    rows = [(key, *_cells(value, study.origins.get(key, ""))) for key, value in axes.items()]
    console.show_table("", ("axis", "values", "from"), rows)
    console.show_text(
        f"{len(trials)} trial{'s'[: len(trials) > 1]}, {stored} of them stored: {len(todo)} to train."
        + (f" {expected}" if todo and where.executor is None else "")
    )
    if study.tuning:
        most = (
            2
            * len(recipe.schemes)
            * len(recipe.seeds)
            * len(study.datasets)
            * len(recipe.model)
            * len(recipe.optimizer)
            * len(recipe.batch_size)
        )
        console.show_text(
            f"These tune the learning rate; then at most {most} more are scored, at each scheme's own best rate and at "
            "the common one. If the best rate is at the edge of the grid, the grid is extended once."
        )


def _cells(value: Any, origin: str) -> tuple[str, str]:  # noqa: ANN401 - any value of a recipe
    texts = [str(item) for item in value] if isinstance(value, list) else [str(value)]
    separator = "\n" if any(len(text) > 12 for text in texts) else ", "  # one name per line
    return separator.join(texts), origin
