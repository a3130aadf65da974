"""The workers of a cluster: what each must have before it gets a trial, looked at when it joins."""

import hashlib
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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

LOOK_EVERY = 1.0  # seconds between two looks for workers that have joined


@dataclass(frozen=True)
class Demands:
    """What a worker must have: the same versions, the same code of the user's, the data, the device, the folder.

    `topic` names the run. `probe` is a file in the results folder, None where that is not shared.
    """

    topic: str
    versions: tuple[tuple[str, str], ...]
    code: tuple[tuple[str, str], ...]
    datasets: tuple[Dataset, ...]
    device: str
    probe: Path | None
    embedded: bool


@dataclass(frozen=True)
class Answer:
    """What a worker says of itself: what it lacks, as ends of sentences, and the fingerprints of data it has not."""

    lacks: tuple[str, ...]
    data: tuple[str, ...]
    threads: int
    resources: Mapping[str, float]


def demands_of(
    topic: str, trials: Iterable[Trial], datasets: Iterable[Dataset], probe: Path | None, *, embedded: bool
) -> Demands:
    """Say what trials demand of the workers that train them."""
    trials = list(trials)
    code = {item for trial in trials for item in trial.code or ()}
    device = trials[0].device if trials else "cpu"
    return Demands(topic, tuple(versions().items()), tuple(sorted(code)), tuple(datasets), device, probe, embedded)


@cache
def versions() -> Mapping[str, str]:
    """Return what the numbers of a trial come from: libraries, and initbench to the last line of its source."""
    source = hashlib.sha256()
    package = Path(__file__).parents[2]
    for path in sorted(package.rglob("*.py")):
        source.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    return {
        "torch": torch.__version__.partition("+")[0],  # behind + stands the kind of build, as for CPU or CUDA
        **{name: version(name) for name in ("numpy", "numba", "llvmlite")},
        "initbench": f"{version('initbench')} (source {source.hexdigest()[:8]})",
    }


def answer(demands: Demands, dask_worker: Any) -> Answer:  # noqa: ANN401 - distributed publishes no types
    """Hold this worker against what is demanded, and note where it has its data; Dask says which worker this is."""
    bootstrap.keep_memory()
    if demands.embedded:
        os.dup2(2, 1)  # this program's stdout is for data, and the user's own code may print
    lacks = tuple(_lacking(demands))
    found = {dataset.fingerprint: reopen(dataset) for dataset in demands.datasets}
    if not lacks:  # else tasks that come here all the same are sent back
        task.prepared(demands.topic, {key: dataset for key, dataset in found.items() if dataset})
    return Answer(
        lacks=lacks,
        data=tuple(key for key, dataset in found.items() if dataset is None),
        threads=dask_worker.state.nthreads,
        resources=dict(dask_worker.state.total_resources),
    )


def receive(topic: str, dataset: Dataset, files: Mapping[str, bytes]) -> None:
    """Put a dataset that was sent into this worker's cache.

    Raises:
        ConfigurationError: the cache cannot be written.
    """
    task.prepared(topic, {dataset.fingerprint: unpack(dataset, files)})


def _lacking(demands: Demands) -> Iterator[str]:
    own = versions()
    for name, wanted in demands.versions:
        if own.get(name) != wanted:
            yield f"has {name} {own.get(name)}, this machine {wanted}: install the same there"
    for reference, wanted in demands.code:
        yield from _differing(reference, wanted)
    if demands.device == "cuda" and not torch.cuda.is_available():
        yield "has no CUDA device: choose another --device"
    if demands.probe is not None and not (demands.probe.is_file() and os.access(demands.probe.parent, os.W_OK)):
        yield f"cannot write the results folder {demands.probe.parents[2]}: share it, or give --no-shared-folder"


def _differing(reference: str, wanted: str) -> Iterator[str]:
    """Say how code of the user's is another here, or none."""
    group = next((g for g in (MODELS.group, SCHEMES.group) if reference in usercode.entry_points(g)), "")
    try:
        usercode.load(reference, group)
        found = usercode.source_hash(reference, group)
    except (InitbenchError, OSError) as error:
        yield f"does not have {reference} ({str(error).rstrip('.')}): give a path that every worker sees"
        return
    if found != wanted:
        yield f"has another {reference} than this machine (source {found[:8]}, not {wanted[:8]}): copy it there"


@dataclass
class Crew:
    """The workers of a run: those that may train, and those that lack something, with the sentence that says what."""

    client: Any
    demands: Demands
    noticed: Callable[[str], None]
    ready: dict[str, Answer] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    looked: float = 0.0

    def gather(self) -> None:
        """Wait for workers, and look at all that are there.

        Raises:
            ConfigurationError: one of them lacks something.
        """
        if not self._present():
            self.noticed("The cluster has no workers yet; this waits for them.")
        while not self.ready:
            self.look()
            if self.refused:
                raise ConfigurationError("\n".join(_by_complaint(self.refused)))
            time.sleep(0 if self.ready else LOOK_EVERY / 10)
        threads = max(found.threads for found in self.ready.values())
        if threads > 1:
            self.noticed(
                f"Workers have up to {threads} threads and train one trial at a time: start them with --nthreads 1, "
                "one a core."
            )

    def look(self, *, now: bool = True) -> None:
        """Look at workers that have joined, and forget those that have left; without `now`, once in a while."""
        if not now and time.monotonic() - self.looked < LOOK_EVERY:
            return
        self.looked = time.monotonic()
        present = self._present()
        self.ready = {address: found for address, found in self.ready.items() if address in present}
        self.refused = {address: said for address, said in self.refused.items() if address in present}
        newcomers = sorted(present - self.ready.keys() - self.refused.keys())
        if newcomers:
            self._welcome(newcomers)

    def _present(self) -> set[str]:
        return set(self.client.ncores())

    def _welcome(self, newcomers: Sequence[str]) -> None:
        begun = bool(self.ready)
        answers = self.client.run(answer, self.demands, workers=list(newcomers), on_error="return")
        # One that does not answer is about to be gone, or is looked at again.
        answers = {address: found for address, found in answers.items() if not isinstance(found, OSError)}
        refused = {address: _complaint(found) for address, found in answers.items() if _complaint(found)}
        ready = {address: found for address, found in answers.items() if address not in refused}
        refused |= self._send(ready)
        self.ready |= {address: found for address, found in ready.items() if address not in refused}
        self.refused |= refused
        for sentence in _by_complaint(refused) if begun else ():
            self.noticed(f"{sentence} It gets no trials.")

    def _send(self, ready: Mapping[str, Answer]) -> dict[str, str]:
        """Send data to the workers that have them neither here nor in their cache; return what went wrong there."""
        wrong: dict[str, str] = {}
        for dataset in self.demands.datasets:
            lacking = [address for address, found in ready.items() if dataset.fingerprint in found.data]
            if lacking:
                sent = self.client.run(
                    receive, self.demands.topic, dataset, pack(dataset), workers=lacking, on_error="return"
                )
                wrong |= {address: f"{error}" for address, error in sent.items() if error is not None}
        return wrong


def _complaint(found: object) -> str:
    """Return what is wrong with a worker that answered so; nothing, if nothing is."""
    if isinstance(found, Answer):
        return "; it ".join(found.lacks)
    said = " ".join(str(found).split()) or type(found).__name__
    return f"cannot take part ({type(found).__name__}: {said}): install there what is installed here"


def _by_complaint(refused: Mapping[str, str]) -> Iterator[str]:
    """Say what is wrong, once for all workers of which it is true."""
    alike: dict[str, list[str]] = defaultdict(list)
    for address, said in refused.items():
        alike[said].append(address)
    for said, addresses in alike.items():
        others = f" (and {len(addresses) - 1} more, alike)" if len(addresses) > 1 else ""
        yield f"The worker {addresses[0]}{others} {said}."
