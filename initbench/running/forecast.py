"""How long a plan would train, from stored trials of its kinds; without torch, and from a few files only."""

import heapq
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from initbench.core.machine import cores
from initbench.core.spec import parse
from initbench.records import store
from initbench.records.recipe import Trial
from initbench.records.record import Record
from initbench.running.time_left import in_words

Kind = tuple[str, str, str, int, str]  # model, dataset, name of the optimizer, batch size, device

LOOKED_AT = 20_000  # files whose age is read: 40 ms
READ = 200  # the newest of them, whose content is read: 30 ms


@dataclass(frozen=True)
class Forecast:
    """The seconds that `known` of `trials` train together on `workers`, as stored trials of their kinds did."""

    seconds: float
    known: int
    trials: int
    workers: int

    def __str__(self) -> str:
        if not self.known:
            return "Time unknown: no trial of these kinds is stored."
        workers = f"{self.workers} workers" if self.workers > 1 else "one worker"
        which = "" if self.known == self.trials else f" for {self.known} of these"
        others = "" if self.known == self.trials else "; no trial of the other kinds is stored"
        told = f"{in_words(self.seconds)} of training{which} on {workers}, as stored trials of that kind took"
        return f"{told[0].upper()}{told[1:]}{others}. Step 0 and the report come on top."


def forecast(todo: Sequence[Trial], out: Path, jobs: int | None) -> Forecast:
    """Return how long trials would train on this machine: each takes its steps at the rate of its kind."""
    rates = _rates(out)
    costs = [rates[kind] * trial.steps for trial in todo if (kind := _kind(trial)) in rates]
    workers = jobs or (cores() if all(trial.device == "cpu" for trial in todo) else 1)
    # The longest trial takes its time on any number of workers.
    seconds = max(sum(costs) / workers, max(costs, default=0.0))
    return Forecast(seconds, len(costs), len(todo), workers)


def _rates(out: Path) -> dict[Kind, float]:
    """Return the seconds per step of each kind among the newest stored trials."""
    steps, seconds = dict[Kind, int](), dict[Kind, float]()
    for record in _newest(out):
        kind, timings = _kind(record.trial), record.timings
        steps[kind] = steps.get(kind, 0) + record.trial.steps
        seconds[kind] = seconds.get(kind, 0.0) + timings.seconds_init + timings.seconds_train
    return {kind: seconds[kind] / steps[kind] for kind in steps}


def _newest(out: Path) -> Iterator[Record]:
    """Yield the newest records of trials that finished; what is damaged, or removed meanwhile, is left out."""
    for _, path in heapq.nlargest(READ, islice(_files(out / "trials"), LOOKED_AT)):
        with suppress(OSError, store.DamagedFile):
            record = store.decode(Path(path).read_bytes())
            if record.outcome.status == "finished":
                yield record


def _files(trials: Path) -> Iterator[tuple[float, str]]:
    """Yield the stored records with the time of their last change."""
    with suppress(OSError):  # nothing is stored yet, or it is removed meanwhile
        for folder in os.scandir(trials):
            if folder.is_dir():
                for entry in os.scandir(folder):
                    if entry.name.endswith(".json"):
                        yield entry.stat().st_mtime, entry.path


def _kind(trial: Trial) -> Kind:
    return trial.model, trial.dataset, parse(trial.optimizer).name, trial.batch_size, trial.device
