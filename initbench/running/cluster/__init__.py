"""More machines: the same run on a Dask cluster, embedded or the user's.

Dask schedules; what is here connects (`opening`), checks the workers before they get a trial (`members`), is what they
run (`task`), and hands out groups of trials and takes in what came of them (`work`).
"""

from initbench.running.cluster.connection import Cluster, cluster_of

__all__ = ["Cluster", "cluster_of"]
