"""The cluster of a run: started here for it, or the user's own, found by address or by its scheduler's file."""

import logging
import multiprocessing
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from initbench.core.children import no_interrupt_for_children
from initbench.core.machine import cores
from initbench.core.spec import parse
from initbench.errors import ConfigurationError, UsageError
from initbench.running.workers import main_module_hidden

EMBEDDED = "dask"
LOOPBACK = "127.0.0.1"
CHATTY = ("distributed", "tornado")
PATIENCE = 10.0  # seconds for a scheduler to answer
# Of the embedded cluster. A task whose worker died comes back at once: the runner finds the trial to blame.
# Nor is a worker given up that was silent for minutes: it was stopped with this program, or the clock jumped.
CONFIGURATION: dict[str, Any] = {
    "distributed.scheduler.worker-ttl": None,
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.daemon": True,
    "distributed.worker.http.routes": [],
    "distributed.comm.timeouts.connect": PATIENCE,
}


@dataclass
class Cluster:
    """A Dask cluster: `address` is None for one that is started here, with `jobs` workers, when it is needed.

    With `shared`, workers see the results folder under the same path as here.
    """

    address: str | None
    jobs: int
    shared: bool = True
    dashboard: int | None = None
    client: Any = None
    _open: ExitStack = field(default_factory=ExitStack)

    @property
    def embedded(self) -> bool:
        """Whether it is started here."""
        return self.address is None

    def __str__(self) -> str:
        return f"started here, {self.jobs} workers" if self.address is None else f"at {self.address}"

    def connect(self) -> Any:  # noqa: ANN401 - distributed publishes no types
        """Return the client; the first call connects.

        Raises:
            ConfigurationError: Dask is not installed, or no scheduler answers.
        """
        if self.client is None:
            self._open.enter_context(_silent())
            self.client = self._open.enter_context(_embedded(self) if self.embedded else _connected(str(self.address)))
        return self.client

    def close(self, *, kill: bool = False) -> None:
        """Disconnect, and end an embedded cluster; with `kill`, its workers at once."""
        if kill and self.embedded:
            _kill_children()  # an orderly end takes seconds
        self._open.close()
        self.client = None


def cluster_of(text: str, jobs: int | None = None, *, shared: bool = True) -> Cluster:
    """Read what `--executor` names: dask, dask(dashboard=8787), a scheduler's address, or a scheduler's file.

    Raises:
        UsageError: it is none of these, or `jobs` is given for a cluster that is not started here.
        ConfigurationError: Dask is not installed.
    """
    _require_dask()
    if "://" in text or Path(text).is_file():
        if jobs is not None:
            raise UsageError(f"--jobs: the cluster at {text} decides how many trials run at a time: omit it.")
        return Cluster(text, jobs=0, shared=shared)
    try:
        spec = parse(text)
    except UsageError:
        spec = None
    options = {} if spec is None else dict(spec.kwargs)
    port = options.pop("dashboard", None)
    if spec is None or spec.name != EMBEDDED or spec.args or options or not _is_port(port):
        raise UsageError(
            f"--executor: '{text}' is neither dask, dask(dashboard=8787), the address of a scheduler "
            f"(tcp://host:8786) nor a scheduler's file."
        )
    return Cluster(None, jobs or cores(), shared=shared, dashboard=port)


def _is_port(port: object) -> bool:
    return port is None or (type(port) is int and 0 <= port < 2**16)


def _require_dask() -> None:
    for module in ("distributed", "cryptography"):
        if find_spec(module) is None:
            raise ConfigurationError(
                f"--executor needs {module}, which is not installed: pip install 'initbench[dask]'."
            )


@contextmanager
def _silent() -> Iterator[None]:
    """Keep Dask's own log lines from the terminal: errors are reported in sentences."""
    import distributed  # noqa: F401, PLC0415 - an extra; importing it sets levels of its loggers

    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in CHATTY]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _embedded(cluster: Cluster) -> Iterator[Any]:
    """Start scheduler and workers on loopback, with keys of their own: other users have no access."""
    import dask  # noqa: PLC0415 - of an extra
    from distributed import Client, LocalCluster, Security  # noqa: PLC0415 - of an extra

    # Without a dashboard there are still web servers, here without pages.
    asked = cluster.dashboard is not None
    silent: dict[str, Any] = {} if asked else {"distributed.scheduler.http.routes": []}
    dashboard = {"dashboard": asked, "dashboard_address": f"{LOOPBACK}:{cluster.dashboard or 0}"}
    # A restarted worker imports `__main__` too, unless it is hidden.
    with dask.config.set(CONFIGURATION | silent), main_module_hidden(), ExitStack() as stack:
        with no_interrupt_for_children(), _sentence_if_not_started():
            local = LocalCluster(
                n_workers=cluster.jobs,
                threads_per_worker=1,
                host=LOOPBACK,
                scheduler_kwargs=dashboard,
                security=Security.temporary(),
                silence_logs=logging.CRITICAL,
            )
        stack.callback(local.close)
        client = stack.enter_context(Client(local, set_as_default=False))
        yield client


@contextmanager
def _sentence_if_not_started() -> Iterator[None]:
    """Turn what Dask raises when its processes do not start, for want of memory or of time, into a sentence.

    Raises:
        ConfigurationError: the block raised such an error.
    """
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise ConfigurationError(
            f"Dask's workers do not start here ({_first_line(error)}): free memory, lower --jobs, or omit --executor."
        ) from error


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    from distributed import Client  # noqa: PLC0415 - of an extra

    where = {"address": address} if "://" in address else {"scheduler_file": address}
    try:
        client = Client(**where, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # the last if an address needs TLS, which is not configured
        raise ConfigurationError(
            f"No Dask scheduler answers at {address} ({_first_line(error)}): is it running, and can this machine reach "
            f"it?"
        ) from None
    with client:
        yield client


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0]


def _kill_children() -> None:
    for process in multiprocessing.active_children():
        with suppress(ValueError):  # closed meanwhile
            process.kill()
