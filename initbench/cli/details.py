"""What `-v` adds: where and how trials are computed, what they cost, and which files hold it."""

from collections import Counter
from collections.abc import Iterator

import pandas as pd

from initbench.analysis.comparison import Comparison
from initbench.analysis.stability import spikes
from initbench.comparing import Prepared
from initbench.environment import cores, device_name

TIMES = ("seconds_init", "seconds_train")


def before(prepared: Prepared) -> Iterator[tuple[str, str]]:
    """Yield (label, text) of what is about to happen."""
    plan, place = prepared.plan, prepared.place
    if place.cluster is None:
        yield "device", f"{plan.device}: {device_name(plan.device)}"
        workers = place.jobs or (cores() if plan.device == "cpu" else 1)
        yield "workers", f"up to {workers}, of one thread each" if plan.device == "cpu" else f"up to {workers}"
    else:
        yield "device", plan.device
        yield "workers", f"of the Dask cluster {place.cluster}"
    for dataset in plan.datasets.values():
        sizes = f"{dataset.train_size} train, {dataset.val_size} validation, {dataset.test_size} test"
        yield "data", f"{dataset.name}: {sizes}, fingerprint {dataset.fingerprint}"
    yield "stored", f"{prepared.stored} of {len(prepared.asked.every)} trials, in {place.out / 'trials'}"


def after(comparison: Comparison, prepared: Prepared) -> Iterator[tuple[str, str]]:
    """Yield (label, text) of what has happened."""
    engines = Counter(record.environment.engine for record in comparison.records)
    for engine, count in engines.most_common():
        yield "engine", f"{engine}: {count} trials"
    spiked = spikes(comparison.records)
    if spiked:
        yield "spikes", spiked
    for scheme, trials in comparison.trials.groupby("scheme", sort=False):
        yield "time", f"{scheme}: {_times(trials)}"
    for path in sorted(path for path in prepared.folder.iterdir() if not path.name.startswith(".")):
        yield "file", str(path)


def _times(trials: pd.DataFrame) -> str:
    init, train = (trials[column].median() for column in TIMES)
    return f"{init:.2g} s to initialize, {train:.2g} s to train (medians of {len(trials)})"
