"""The time that a run still takes: from the trials that ended, by kind, and how many train at a time."""

import math
import time
from collections.abc import Mapping, Sequence

from initbench.records.recipe import Trial
from initbench.records.record import Record
from initbench.running.pace import StepCounter

LEAST_ENDED = 2  # trials, before which nothing is said: the first one also pays for what the others find ready
LEAST_SECONDS = 2.0


class _Kind:
    """The trials of a run that cost alike: their steps, and the seconds per step of those that ended."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.counter = StepCounter()
        self.counter.start(trials)
        self.steps_before = self.steps_timed = 0
        self.seconds = 0.0

    def finish(self, record: Record) -> None:
        self.counter.finish(record.trial.id)
        if record.outcome.status != "failed":
            self.steps_timed += record.trial.steps
            self.seconds += record.timings.seconds_init + record.timings.seconds_train

    @property
    def rate(self) -> float | None:
        """Seconds per step, None before a trial ended."""
        return self.seconds / self.steps_timed if self.steps_timed else None


class TimeLeft:
    """Estimates the remaining time of some trials; the clock starts with the first steps, after workers have started.

    Trials of one kind have the same model, dataset, optimizer, batch size and steps. What is left of each kind costs
    what its trials took; the seconds of trials per second of the clock say how many train at a time.
    """

    def __init__(self, todo: Sequence[Trial]) -> None:
        grouped: dict[tuple[object, ...], list[Trial]] = {}
        for trial in todo:
            key = (trial.model, trial.dataset, trial.optimizer, trial.batch_size, trial.steps)
            grouped.setdefault(key, []).append(trial)
        self.kinds = [_Kind(trials) for trials in grouped.values()]
        self.kind_of = {trial_id: kind for kind in self.kinds for trial_id in kind.counter.steps}
        self.since: float | None = None

    def progress(self, steps: Mapping[str, int]) -> None:
        """Note how far running trials are."""
        for kind in self.kinds:
            kind.counter.progress(steps)
        if self.since is None and any(kind.counter.steps_done for kind in self.kinds):
            self.since = time.monotonic()
            for kind in self.kinds:
                kind.steps_before = kind.counter.steps_done

    def finish(self, record: Record) -> None:
        """Note the end of a trial."""
        self.kind_of[record.trial.id].finish(record)

    def seconds(self) -> float | None:
        """Return the seconds that are left, None before enough trials of every kind that is left have ended."""
        ended = sum(kind.counter.ended for kind in self.kinds)
        elapsed = 0.0 if self.since is None else time.monotonic() - self.since
        pending = [kind for kind in self.kinds if kind.counter.ended < kind.counter.trials]
        if ended < LEAST_ENDED or elapsed < LEAST_SECONDS or any(kind.rate is None for kind in pending):
            return None
        trained = sum((kind.counter.steps_done - kind.steps_before) * (kind.rate or 0.0) for kind in self.kinds)
        work = sum((kind.counter.total - kind.counter.steps_done) * (kind.rate or 0.0) for kind in pending)
        # The last trials train beside workers that have nothing left to do.
        longest = max((kind.counter.longest_running * (kind.rate or 0.0) for kind in pending), default=0.0)
        return max(work * elapsed / trained, longest) if trained else None


def in_words(seconds: float) -> str:
    """Return `under 10 s`, `about 40 s`, `about 2 min` or `about 3 h`."""
    if seconds < 10:
        return "under 10 s"
    if seconds <= 50:
        return f"about {math.ceil(seconds / 10) * 10} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 100 else f"about {round(seconds / 3600)} h"
