"""What takes seconds begins in other processes, while this one imports what draws: workers, and compiling."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice

from initbench.cli import console
from initbench.cli.options import Output, Where
from initbench.core.machine import cores
from initbench.records import store
from initbench.running.study import Study
from initbench.running.workers import opened_early


@contextmanager
def head_start(study: Study, where: Where, output: Output) -> Iterator[None]:
    """Let the workers that will train in this block import torch, and compile the loops that they need."""
    missing = (trial for trial in study.all_trials if not store.path_of(study.out, trial.id).exists())
    jobs = len(list(islice(missing, where.jobs or cores())))
    here = where.executor is None and study.device == "cpu" and jobs > 1
    with opened_early(jobs) if here else nullcontext():
        if study.device == "cpu":
            _start_compiling(quiet=output.quiet)
        if jobs:
            with console.gc_frozen():
                import initbench.report.folder  # noqa: F401 - loads matplotlib, SciPy and pandas
        yield


def _start_compiling(*, quiet: bool) -> None:
    """Compile the training loops in another process, unless this machine has them cached."""
    from initbench.training.compiled import kernels  # loads LLVM

    if kernels.are_ready():
        return
    begun = kernels.begin()
    if begun and not quiet:
        console.notice("Compiling the training loops for this machine (once, about 3 s).")
    elif not quiet:
        console.notice(
            f"Cannot cache compiled training loops in {kernels.folder()}, so every run compiles them (about 3 s). "
            "Set INITBENCH_CACHE to a folder that only you can write to."
        )
