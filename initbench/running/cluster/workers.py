"""The workers of a cluster: each is checked when it joins, before it gets a trial."""

import hashlib
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from initbench.core import usercode
from initbench.datasets import Dataset
from initbench.datasets.cache import pack, reopen, unpack
from initbench.errors import ConfigurationError, InitbenchError
from initbench.networks.models import MODELS
from initbench.records.recipe import Trial
from initbench.running import bootstrap
from initbench.running.cluster import task
from initbench.schemes import SCHEMES

CHECK_EVERY = 1.0  # seconds between two checks for workers that have joined


@dataclass(frozen=True)
class Requirements:
    """What a worker must have: the same versions, the same user code, the data, the device, the results folder.

    `topic` names the run. `probe` is a file in the results folder, None if that is not shared.
    """

    topic: str
    versions: tuple[tuple[str, str], ...]
    code: tuple[tuple[str, str], ...]
    datasets: tuple[Dataset, ...]
    device: str
    probe: Path | None
    embedded: bool


@dataclass(frozen=True)
class CheckResult:
    """What a worker lacks, as ends of sentences; the fingerprints of the data missing there; what it offers.

    `nanny` says whether Dask starts it again when its process `pid` has ended.
    """

    lacks: tuple[str, ...]
    missing_data: tuple[str, ...]
    threads: int
    resources: Mapping[str, float]
    pid: int
    nanny: bool


def requirements_of(
    topic: str, trials: Iterable[Trial], datasets: Iterable[Dataset], probe: Path | None, *, embedded: bool
) -> Requirements:
    """Return what trials require of the workers that train them."""
    trials = list(trials)
    code = {item for trial in trials for item in trial.code or ()}
    device = trials[0].device if trials else "cpu"
    return Requirements(topic, tuple(versions().items()), tuple(sorted(code)), tuple(datasets), device, probe, embedded)


@cache
def versions() -> Mapping[str, str]:
    """Return the versions that a trial's numbers depend on: libraries, and initbench with a hash of its source."""
    source = hashlib.sha256()
    package = Path(__file__).parents[2]
    for path in sorted(package.rglob("*.py")):
        source.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    return {
        "torch": torch.__version__.partition("+")[0],  # after + follows the kind of build, such as CPU or CUDA
        **{name: version(name) for name in ("numpy", "numba", "llvmlite")},
        "initbench": f"{version('initbench')} (source {source.hexdigest()[:8]})",
    }


def check_worker(requirements: Requirements, dask_worker: Any) -> CheckResult:  # noqa: ANN401 - distributed has no types
    """Check this worker against the requirements, and register its data; Dask fills `dask_worker` in."""
    bootstrap.keep_memory()
    if requirements.embedded:
        os.dup2(2, 1)  # this program's stdout is for data, and the user's own code may print
    lacks = tuple(_lacking(requirements))
    found = {dataset.fingerprint: reopen(dataset) for dataset in requirements.datasets}
    if not lacks:  # else tasks that still come here are sent back
        task.register_datasets(requirements.topic, {key: dataset for key, dataset in found.items() if dataset})
    return CheckResult(
        lacks=lacks,
        missing_data=tuple(key for key, dataset in found.items() if dataset is None),
        threads=dask_worker.state.nthreads,
        resources=dict(dask_worker.state.total_resources),
        pid=os.getpid(),
        nanny=dask_worker.nanny is not None,
    )


def receive_dataset(topic: str, dataset: Dataset, files: Mapping[str, bytes]) -> None:
    """Write a dataset that was sent into this worker's cache.

    Raises:
        ConfigurationError: the cache cannot be written.
    """
    task.register_datasets(topic, {dataset.fingerprint: unpack(dataset, files)})


def _lacking(requirements: Requirements) -> Iterator[str]:
    own = versions()
    for name, wanted in requirements.versions:
        if own.get(name) != wanted:
            yield f"has {name} {own.get(name)}, this machine {wanted}: install the same there"
    for reference, wanted in requirements.code:
        yield from _differing(reference, wanted)
    if requirements.device == "cuda" and not torch.cuda.is_available():
        yield "has no CUDA device: choose another --device"
    if requirements.probe is not None and not (
        requirements.probe.is_file() and os.access(requirements.probe.parent, os.W_OK)
    ):
        yield f"cannot write the results folder {requirements.probe.parents[2]}: share it, or give --no-shared-folder"


def _differing(reference: str, wanted: str) -> Iterator[str]:
    """Yield how the user's code differs here, or that it is absent."""
    group = next((g for g in (MODELS.group, SCHEMES.group) if reference in usercode.entry_points(g)), "")
    try:
        usercode.load(reference, group)
        found = usercode.source_hash(reference, group)
    except (InitbenchError, OSError) as error:
        yield f"does not have {reference} ({str(error).rstrip('.')}): give a path that every worker sees"
        return
    if found != wanted:
        yield f"has a different {reference} than this machine (source {found[:8]}, not {wanted[:8]}): copy it there"


@dataclass
class ClusterWorkers:
    """The workers of a run: those that may train, and those that lack something, with what they lack in words."""

    client: Any
    requirements: Requirements
    noticed: Callable[[str], None]
    ready: dict[str, CheckResult] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    present: set[str] = field(default_factory=set)
    checked: float = 0.0

    def wait_for_workers(self) -> None:
        """Wait for workers, and check all that are present.

        Raises:
            ConfigurationError: one of them lacks something.
        """
        if not self._present():
            self.noticed("The cluster has no workers yet; waiting for them.")
        while not self.ready:
            self.update()
            if self.refused:
                raise ConfigurationError("\n".join(_by_problem(self.refused)))
            time.sleep(0 if self.ready else CHECK_EVERY / 10)
        threads = max(found.threads for found in self.ready.values())
        if threads > 1:
            self.noticed(
                f"Workers have up to {threads} threads and train one trial at a time: start one worker per core, with "
                "--nthreads 1."
            )

    def update(self, *, now: bool = True) -> None:
        """Check workers that have joined, and drop those that have left; without `now`, every `CHECK_EVERY` seconds."""
        if not now and time.monotonic() - self.checked < CHECK_EVERY:
            return
        self.checked = time.monotonic()
        before, self.present = self.present, self._present()
        if before and not self.present and not self.requirements.embedded:  # those of this program start again
            self.noticed("The cluster has no workers left; waiting for them.")
        self.ready = {address: found for address, found in self.ready.items() if address in self.present}
        self.refused = {address: said for address, said in self.refused.items() if address in self.present}
        newcomers = sorted(self.present - self.ready.keys() - self.refused.keys())
        if newcomers:
            self._check(newcomers)

    def end(self, address: str, *, stuck: bool) -> None:
        """End a worker whose task was cancelled, at once: it takes no other before it has left that one.

        Dask's own `restart_workers` asks the process to leave, and drops the worker for good where that, or a
        connection on a busy machine, takes longer than its limit. A worker without a nanny would not be started again:
        it goes on, and leaves the task with the next step, unless it may be `stuck` in the user's code.
        """
        found = self.ready.get(address)
        if found is None or not (found.nanny or stuck):
            return
        del self.ready[address]
        ending = (os.kill, found.pid, signal.SIGKILL) if found.nanny else (os._exit, 1)
        with suppress(KeyError):  # it has just left
            self.client.run(*ending, workers=[address], nanny=found.nanny, on_error="ignore")

    def _present(self) -> set[str]:
        return set(self.client.ncores())

    def _check(self, newcomers: Sequence[str]) -> None:
        begun = bool(self.ready)
        answers = self.client.run(check_worker, self.requirements, workers=list(newcomers), on_error="return")
        # One that does not answer is about to leave, or is checked again.
        answers = {address: found for address, found in answers.items() if not isinstance(found, OSError)}
        refused = {address: _problem(found) for address, found in answers.items() if _problem(found)}
        ready = {address: found for address, found in answers.items() if address not in refused}
        refused |= self._send(ready)
        self.ready |= {address: found for address, found in ready.items() if address not in refused}
        self.refused |= refused
        for sentence in _by_problem(refused) if begun else ():
            self.noticed(f"{sentence} It gets no trials.")

    def _send(self, ready: Mapping[str, CheckResult]) -> dict[str, str]:
        """Send data to the workers whose cache lacks them; return what went wrong, by address."""
        wrong: dict[str, str] = {}
        for dataset in self.requirements.datasets:
            lacking = [address for address, found in ready.items() if dataset.fingerprint in found.missing_data]
            if lacking:
                sent = self.client.run(
                    receive_dataset, self.requirements.topic, dataset, pack(dataset), workers=lacking, on_error="return"
                )
                wrong |= {address: f"{error}" for address, error in sent.items() if error is not None}
        return wrong


def _problem(found: object) -> str:
    """Return what is wrong with a worker that gave this answer, or the empty string."""
    if isinstance(found, CheckResult):
        return "; it ".join(found.lacks)
    said = " ".join(str(found).split()) or type(found).__name__
    return f"cannot train ({type(found).__name__}: {said}): install the same packages there as here"


def _by_problem(refused: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence per problem, which names the first of the workers that have it."""
    alike: dict[str, list[str]] = defaultdict(list)
    for address, said in refused.items():
        alike[said].append(address)
    for said, addresses in alike.items():
        others = f" (and {len(addresses) - 1} more)" if len(addresses) > 1 else ""
        yield f"The worker {addresses[0]}{others} {said}."
