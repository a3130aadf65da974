"""Curves as TensorBoard event files, one run a trial."""

import contextlib
import io
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from initbench.analysis.results import Results
from initbench.core.paths import stay_inside
from initbench.core.text import slug
from initbench.records.store import write_atomically, writing
from initbench.report.exports.trials import CURVE_METRICS, Tracked, needs, paths, tracked

# TensorBoard looks for the first part. One name for ever: a second export replaces the first in place of doubling it.
EVENTS = "events.out.tfevents.0.initbench"


def write_tensorboard(comparison: Results, folder: Path) -> None:
    """Write `folder/<comparison>/<scheme>/lr-<lr>/seed-<seed>/`, an event file each, for `tensorboard --logdir folder`.

    A run has the scalars train_loss, val_loss (nats) and val_accuracy (a share) by step, as float32, and what was set
    as hyperparameters. A diverged trial's curves end where they end. Wall times are 0: the store keeps none. Runs of
    this comparison that an earlier export left and that are no more are removed.

    Raises:
        ConfigurationError: tensorboard is not installed, or the folder cannot be written.
    """
    trials = list(tracked(comparison))
    home = folder / slug(comparison.name)
    files = {home / path / EVENTS: _events(tracked) for path, tracked in zip(paths(trials), trials, strict=True)}
    for path in files:
        stay_inside(folder, path)
    for path, content in files.items():
        write_atomically(path, content)
    _remove_others(home, files.keys())


def _events(tracked: Tracked) -> bytes:
    with needs("tensorboard"):
        from tensorboard.compat.proto.event_pb2 import Event  # noqa: PLC0415 - of an extra
        from tensorboard.summary.writer.record_writer import RecordWriter  # noqa: PLC0415 - of an extra
    buffer = io.BytesIO()
    writer = RecordWriter(buffer)
    writer.write(Event(file_version="brain.Event:2").SerializeToString())
    for step, summary in _summaries(tracked):
        writer.write(Event(step=step, summary=summary).SerializeToString())
    return buffer.getvalue()


def _summaries(tracked: Tracked) -> Iterator[tuple[int, Any]]:
    """Yield protocol buffers by step: the hyperparameters, then the curve's points."""
    from tensorboard.compat.proto.summary_pb2 import Summary  # noqa: PLC0415 - of an extra
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # noqa: PLC0415 - of an extra

    parameters = tracked.parameters | {"outcome": tracked.record.outcome.status, "part": tracked.part}
    yield 0, hparams_pb(parameters, trial_id=tracked.record.trial.id, start_time_secs=0)
    for point in tracked.record.curve:
        values = [Summary.Value(tag=name, simple_value=getattr(point, name)) for name in CURVE_METRICS]
        yield point.step, Summary(value=values)


def _remove_others(home: Path, kept: Iterable[Path]) -> None:
    """Remove our event files below `home` but for these, and the folders that this empties; no link is followed."""
    kept = set(kept)
    for place, _, files in os.walk(home, topdown=False):
        path = Path(place, EVENTS)
        if EVENTS in files and path not in kept:
            with writing(path):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # what holds something else is not ours to remove
                for emptied in itertools.takewhile(lambda folder: folder != home, path.parents):
                    emptied.rmdir()
