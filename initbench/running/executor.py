"""Which backend trains: what `--executor`, `--jobs` and `--trial-timeout` say."""

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
    if executor is None:
        return LocalPool(jobs, trial_timeout)
    return DaskPool(cluster_of(executor, jobs, shared=shared_folder), trial_timeout)
