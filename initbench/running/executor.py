"""Which backend trains: what `--executor`, `--jobs` and `--trial-timeout` say."""

from initbench.errors import UsageError
from initbench.running.backend import Backend
from initbench.running.cluster import DaskPool, cluster_of
from initbench.running.pool import LocalPool


def choose_backend(
    executor: str | None = None,
    jobs: int | None = None,
    trial_timeout: float | None = None,
    *,
    shared_folder: bool = True,
) -> Backend:
    """Return the Dask cluster that `executor` names, or the pool of this machine where it is None.

    Raises:
        UsageError: `executor` names no cluster, or the others do not go with it.
        ConfigurationError: Dask is not installed.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs: {jobs} workers train nothing: give 1 or more, or omit it for one per core.")
    if trial_timeout is not None and not trial_timeout > 0:
        raise UsageError(f"trial_timeout: no trial ends within {trial_timeout} s: give more, or omit it for no limit.")
    if executor is None:
        return LocalPool(jobs, trial_timeout)
    return DaskPool(cluster_of(executor, jobs, shared=shared_folder), trial_timeout)
