"""What is printed around the table: the details of `-v`, and the commands to run next."""

import os
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from initbench.cli import options
from initbench.comparison import Comparison
from initbench.report.sentences import describe_spikes
from initbench.running.backend import Backend
from initbench.running.study import Study

TIMES = ("seconds_init", "seconds_train")
MOST_SEEDS = 100  # more seeds than this are not suggested


def before(study: Study, backend: Backend) -> Iterator[tuple[str, str]]:
    """Yield (label, text) of the details known before training."""
    yield from backend.describe(study.device)
    for dataset in study.datasets.values():
        sizes = f"{dataset.train_size} train, {dataset.val_size} validation, {dataset.test_size} test"
        yield "data", f"{dataset.name}: {sizes}, fingerprint {dataset.fingerprint}"
    yield "stored", f"{study.stored} of {len(study.all_trials)} trials, in {study.out / 'trials'}"


def after(comparison: Comparison, study: Study) -> Iterator[tuple[str, str]]:
    """Yield (label, text) of the details known after training."""
    engines = Counter(record.environment.engine for record in comparison.records)
    for engine, count in engines.most_common():
        yield "engine", f"{engine}: {count} trials"
    spiked = describe_spikes(comparison.records)
    if spiked:
        yield "spikes", spiked
    for scheme, trials in comparison.trials.groupby("scheme", sort=False):
        yield "time", f"{scheme}: {_times(trials)}"
    for path in sorted(path for path in study.folder.iterdir() if not path.name.startswith(".")):
        yield "file", str(path)


def _times(trials: pd.DataFrame) -> str:
    init, train = (trials[column].median() for column in TIMES)
    return f"{init:.2g} s to initialize, {train:.2g} s to train (medians of {len(trials)})"


def next_commands(comparison: Comparison, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (command, purpose), the most useful first; `folder` is the comparison's own."""
    yield f"initbench report {_unless_default(folder)}--open", "curves, tables and verdicts in a browser"
    typed = shlex.split(comparison.command)
    if len(comparison.schemes) == 1 and typed[1:2] == ["run"]:
        other = "torch_default" if comparison.schemes[0] != "torch_default" else "kaiming"
        yield (
            shlex.join(["initbench", "compare", *_without(typed[2:], "--name"), "-s", other]),
            "against another scheme",
        )
        return
    if len(comparison.asked_rates) == 1 and not comparison.crossed:
        tuned = [
            *_without(_without(typed, "--lr"), "--name"),
            "--lr",
            "tune",
        ]  # another folder
        yield shlex.join(tuned), "each scheme at its own best learning rate"
    seeds = seeds_that_settle(comparison)
    if seeds:
        yield (
            shlex.join([*_without(typed, "--seeds"), "--seeds", str(seeds)]),
            "enough seeds for what is still open",
        )


def seeds_that_settle(comparison: Comparison) -> int | None:
    """Return how many seeds the open verdicts and claims need, None where none is open or none can be planned."""
    had = {record.trial.seed for record in comparison.records}
    if had != set(range(len(had))):  # a count would not include these seeds
        return None
    judged = [judgement for every in comparison.judgements.values() for judgement in every]
    needed = [verdict.seeds_needed for judgement in judged for verdict in (judgement.accuracy, judgement.speed)]
    needed += [claim.seeds_needed for claim in comparison.claims_judged if claim.status == "undecided"]
    return max((seeds for seeds in needed if seeds is not None and len(had) < seeds <= MOST_SEEDS), default=None)


def _unless_default(folder: Path) -> str:
    """Return the folder as an argument, or nothing if it is in the default results folder."""
    usual = Path(os.environ.get("INITBENCH_OUT") or options.OUT)
    return "" if folder.parent == usual else f"{shlex.quote(str(folder))} "


def _without(words: list[str], flag: str) -> list[str]:
    """Return a command line without a flag and its value."""
    kept, skip = [], False
    for word in words:
        if not skip and word != flag and not word.startswith(f"{flag}="):
            kept.append(word)
        skip = word == flag
    return kept
