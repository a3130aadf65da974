"""What the fork server imports, once for all workers (`forkserver`); it computes nothing and starts no thread."""

import gc
from contextlib import suppress
from importlib import import_module

from initbench.core.children import end_with_parent
from initbench.core.gc_pause import collector_paused

end_with_parent()
# What cannot be imported here is imported again by each worker, whose error the pool reports.
with collector_paused(), suppress(Exception):
    for name in ("initbench.training.chains", "initbench.running.worker"):
        import_module(name)
gc.freeze()  # so that a collection in a worker touches no page that it shares with the others
