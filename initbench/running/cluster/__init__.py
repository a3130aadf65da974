"""More machines: the same study on a Dask cluster, started here or the user's own.

Dask schedules. `connection` connects, `workers` checks the workers before they get a trial, `task` is what runs on a
worker, `dispatch` hands groups of trials out and takes their records in, and `pool` is the backend made of these.
"""

from initbench.running.cluster.connection import Cluster, cluster_of
from initbench.running.cluster.pool import DaskPool

__all__ = ["Cluster", "DaskPool", "cluster_of"]
