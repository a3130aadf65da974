"""How far a run is: the steps of its trials counted."""

from collections.abc import Mapping, Sequence

from initbench.records.recipe import Trial


class StepCounter:
    """Counts the steps of some trials, so that the estimate also advances within a long trial."""

    def __init__(self) -> None:
        self.total = self.done = self.trials = self.ended = 0
        self.running: dict[str, int] = {}
        self.steps: dict[str, int] = {}

    def start(self, todo: Sequence[Trial]) -> None:
        """Start over with the trials to run: tuning and scoring are counted separately."""
        self.done, self.ended, self.running = 0, 0, {}
        self.total, self.trials = sum(trial.steps for trial in todo), len(todo)
        self.steps = {trial.id: trial.steps for trial in todo}

    def progress(self, steps: Mapping[str, int]) -> None:
        """Note how far running trials are."""
        self.running |= {trial_id: step for trial_id, step in steps.items() if trial_id in self.steps}

    def finish(self, trial_id: str) -> None:
        """Note the end of a trial; one that diverged counts in full."""
        self.running.pop(trial_id, None)
        self.done += self.steps.pop(trial_id)
        self.ended += 1

    @property
    def steps_done(self) -> int:
        """Steps of ended trials and of those still running."""
        return self.done + sum(self.running.values())

    @property
    def longest_running(self) -> int:
        """The most steps that a running trial has left."""
        return max((self.steps[trial_id] - step for trial_id, step in self.running.items()), default=0)


def clock(seconds: float) -> str:
    """Return `1:05` or `2:00:07`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
