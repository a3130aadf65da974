"""How long a plan would take, from stored trials of its kinds; without torch, and from a few files only."""

import heapq
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from initbench.core.machine import cores
from initbench.core.spec import parse
from initbench.errors import UsageError
from initbench.records.recipe import Trial
from initbench.running.time_left import in_words

Kind = tuple[str, str, str, int, str]  # model, dataset, name of the optimizer, batch size, device

LOOKED_AT = 20_000  # files whose age is read: 40 ms
READ = 200  # the newest of them, whose content is read: 30 ms


@dataclass(frozen=True)
class Forecast:
    """The seconds that `known` of `trials` take together on `workers`, as stored trials of their kinds took."""

    seconds: float
    known: int
    trials: int
    workers: int

    def __str__(self) -> str:
        if not self.known:
            return "Time unknown: no trial of these kinds is stored."
        workers = f"{self.workers} workers" if self.workers > 1 else "one worker"
        told = f"{in_words(self.seconds)} on {workers}, as stored trials of that kind took"
        if self.known == self.trials:
            return f"{told[0].upper()}{told[1:]}."
        return f"{self.known} of these take {told}; no trial of the other kinds is stored."


def forecast(todo: Sequence[Trial], out: Path, jobs: int | None) -> Forecast:
    """Return how long trials would take on this machine: each costs its steps at the rate of its kind."""
    rates = _rates(out)
    costs = [rates[kind] * trial.steps for trial in todo if (kind := _kind(trial.model_dump())) in rates]
    workers = jobs or (cores() if all(trial.device == "cpu" for trial in todo) else 1)
    # The longest trial takes its time on any number of workers.
    seconds = max(sum(costs) / workers, max(costs, default=0.0))
    return Forecast(seconds, len(costs), len(todo), workers)


def _rates(out: Path) -> dict[Kind, float]:
    """Return the seconds per step of each kind among the newest stored trials."""
    steps, seconds = dict[Kind, int](), dict[Kind, float]()
    for trial, timings in _newest(out):
        kind = _kind(trial)
        steps[kind] = steps.get(kind, 0) + trial["steps"]
        seconds[kind] = seconds.get(kind, 0.0) + timings["seconds_init"] + timings["seconds_train"]
    return {kind: seconds[kind] / steps[kind] for kind in steps}


def _newest(out: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield trial and timings of the newest records that finished, as their files say; what is damaged is left out."""
    files = islice(_files(out / "trials"), LOOKED_AT)
    for _, path in heapq.nlargest(READ, files):
        try:
            document = json.loads(Path(path).read_bytes())
            record, timings = document["payload"], document["timings"]
            if record["outcome"]["status"] == "finished":
                _kind(record["trial"])
                yield record["trial"], {key: float(timings[key]) for key in ("seconds_init", "seconds_train")}
        except (OSError, ValueError, KeyError, TypeError, RecursionError, UsageError):
            continue


def _files(trials: Path) -> Iterator[tuple[float, str]]:
    """Yield the stored records with the time of their last change."""
    try:
        folders = [entry.path for entry in os.scandir(trials) if entry.is_dir()]
    except OSError:  # nothing is stored yet
        return
    for folder in folders:
        for entry in os.scandir(folder):
            if entry.name.endswith(".json"):
                yield entry.stat().st_mtime, entry.path


def _kind(trial: dict[str, Any]) -> Kind:
    optimizer = parse(trial["optimizer"]).name
    return trial["model"], trial["dataset"], optimizer, int(trial["batch_size"]), trial["device"]
