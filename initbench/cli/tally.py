"""Counting while trials run: steps done, and how long the others will take."""

import time
from collections.abc import Mapping, Sequence

from initbench.recipe import Trial


class Tally:
    """Counts steps over some trials, so that the estimate moves inside a long trial too."""

    def __init__(self) -> None:
        self.total = self.done = self.trials = self.ended = 0
        self.running: dict[str, int] = {}
        self.steps: dict[str, int] = {}

    def start(self, todo: Sequence[Trial]) -> None:
        """Note what there is to do, from the beginning: tuning and scoring are counted each by itself."""
        self.done, self.ended, self.running = 0, 0, {}
        self.total, self.trials = sum(trial.steps for trial in todo), len(todo)
        self.steps = {trial.id: trial.steps for trial in todo}

    def progress(self, steps: Mapping[str, int]) -> None:
        """Note how far running trials are."""
        self.running |= {trial_id: step for trial_id, step in steps.items() if trial_id in self.steps}

    def finish(self, trial_id: str) -> None:
        """Note the end of a trial; one that diverged early counts in full."""
        self.running.pop(trial_id, None)
        self.done += self.steps.pop(trial_id)
        self.ended += 1

    @property
    def steps_done(self) -> int:
        """Steps of ended trials and of those still running."""
        return self.done + sum(self.running.values())


class Pace:
    """Guesses the time that is left from the first steps on: starting workers takes seconds that say nothing of it."""

    def __init__(self) -> None:
        self.since: float | None = None
        self.steps = 0

    def note(self, done: int) -> None:
        """Begin with the first steps that are heard of."""
        if self.since is None and done:
            self.since, self.steps = time.monotonic(), done

    def left(self, done: int, total: int) -> float | None:
        """Return the seconds for `total - done` steps, None before there is anything to guess from."""
        if self.since is None or done <= self.steps:
            return None
        return (time.monotonic() - self.since) * (total - done) / (done - self.steps)
