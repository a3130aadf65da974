"""`initbench run`: train schemes over the seeds."""

from initbench.cli import options
from initbench.cli.console import command, kept
from initbench.cli.early import compile_early


@command
def run(
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
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    plain: options.Plain = False,  # noqa: ARG001 - `console.command` sees to it
    open_report: options.Open = False,
) -> None:
    """Train one scheme over the seeds: table, loss curves, plots."""
    compile_early(needed=not dry_run, quiet=quiet)
    with kept():
        import scipy.stats  # noqa: F401 - else it loads in the middle, and the collector takes as long again

        from initbench.cli.grid import Wishes, run_grid
        from initbench.errors import UsageError
        from initbench.running.cluster import cluster_of
        from initbench.running.study import Place, draft_of

    if not scheme:
        raise UsageError("run needs a scheme: write --scheme kaiming, or `initbench compare` for a set of them.")
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
    )
    cluster = cluster_of(executor, jobs, shared=shared_folder) if executor else None
    place = Place(out, data_dir, jobs, trial_timeout, cluster)
    run_grid("run", draft_of(None, given, origin="--"), place, wishes)
