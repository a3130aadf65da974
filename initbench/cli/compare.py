"""`initbench compare`: the default set of schemes, a recipe's, or those given."""

from pathlib import Path
from typing import Annotated

import typer

from initbench.cli import completion, options
from initbench.cli.console import command, kept
from initbench.cli.early import compile_early

Recipe = Annotated[
    Path | None,
    typer.Argument(help="A recipe, for example experiments/article.toml.", autocompletion=completion.recipe),
]


@command
def compare(
    recipe: Recipe = None,
    scheme: options.Schemes = None,
    model: options.Models = None,
    dataset: options.Datasets = None,
    optimizer: options.Optimizers = None,
    lr: options.Rates = None,
    batch_size: options.BatchSize = None,
    epochs: options.Epochs = None,
    steps: options.Steps = None,
    seeds: options.Seeds = None,
    vary: options.Vary = None,
    target: options.Target = None,
    baseline: options.Baseline = None,
    device: options.Device = None,
    precision: options.Precision = None,
    jobs: options.Jobs = None,
    executor: options.Executor = None,
    shared_folder: options.SharedFolder = True,
    trial_timeout: options.TrialTimeout = None,
    data_dir: options.DataDir = None,
    out: options.Out = options.OUT,
    name: options.Name = None,
    json: options.Json = False,
    dry_run: options.DryRun = False,
    fail_if: options.FailIf = None,
    all_pairs: options.AllPairs = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    plain: options.Plain = False,  # noqa: ARG001 - `console.command` sees to it
    open_report: options.Open = False,
) -> None:
    """Compare schemes over several seeds: tables, curves, plots, a report.

    Flags override the recipe, which overrides the defaults. Trials that are stored are not trained again.
    """
    compile_early(needed=not dry_run, quiet=quiet)
    with kept():
        import scipy.stats  # noqa: F401 - else it loads in the middle, and the collector takes as long again

        from initbench.cli.grid import Wishes, run_grid
        from initbench.running.cluster import cluster_of
        from initbench.running.study import Place, draft_of

    given = options.given(
        schemes=scheme,
        model=model,
        dataset=dataset,
        optimizer=optimizer,
        lr=lr,
        batch_size=batch_size,
        epochs=epochs,
        steps=steps,
        seeds=seeds,
        vary=vary,
        target=target,
        baseline=baseline,
        device=device,
        precision=precision,
        name=name,
    )
    wishes = Wishes(
        as_json=json,
        dry_run=dry_run,
        quiet=quiet,
        verbose=verbose,
        open_report=open_report,
        fail_if=tuple(fail_if or ()),
        all_pairs=all_pairs,
    )
    cluster = cluster_of(executor, jobs, shared=shared_folder) if executor else None
    place = Place(out, data_dir, jobs, trial_timeout, cluster)
    run_grid("compare", draft_of(recipe, given, origin="--"), place, wishes)
