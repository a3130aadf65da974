"""What the fork server imports, once for all workers (`forkserver`); it computes nothing and starts no thread."""

import gc
import os
from contextlib import suppress

from initbench.core.children import end_with_parent
from initbench.core.gc_pause import collector_paused


def _after_fork() -> None:
    if os.getppid() == SERVER:  # and not in what the user's own code forks in a worker
        end_with_parent()


SERVER = os.getpid()
end_with_parent()
os.register_at_fork(after_in_child=_after_fork)
# What cannot be imported here is imported again by each worker, whose error the pool reports.
with collector_paused(), suppress(Exception):
    import initbench.running.worker
    import initbench.training.chains  # noqa: F401 - for the workers
gc.freeze()  # so that a collection in a worker touches no page that it shares with the others
