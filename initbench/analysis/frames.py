"""Records as tidy tables: one row per trial, curve point or layer.

Column names, their order and their types are a contract with every reader of the CSV files. An absent number is missing
(NaN or NA), never 0.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, islice
from operator import attrgetter
from typing import Any

import numpy as np
import pandas as pd

from initbench.analysis.statistics.intervals import beats_guessing
from initbench.records.record import Record

ROWS_AT_ONCE = 10_000
TRIAL_COLUMNS = {
    "trial": "str",
    "dataset": "str",
    "model": "str",
    "scheme": "str",
    "optimizer": "str",
    "lr": "float64",
    "batch_size": "int64",
    "steps": "int64",
    "seed": "int64",
    "device": "str",
    "precision": "str",
    "outcome": "str",
    "initial_loss": "float64",
    "final_train_loss": "float64",
    "final_train_accuracy": "float64",
    "final_val_loss": "float64",
    "final_val_accuracy": "float64",
    "test_loss": "float64",
    "test_accuracy": "float64",
    "generalization_gap": "float64",
    "steps_to_target": "Int64",
    "seconds_init": "float64",
    "seconds_train": "float64",
    "initialization_steps": "float64",
}
CURVE_COLUMNS = {
    "trial": "str",
    "scheme": "str",
    "lr": "float64",
    "seed": "int64",
    "step": "int64",
    "epoch": "float64",
    "train_loss": "float64",
    "val_loss": "float64",
    "val_accuracy": "float64",
}
LAYER_COLUMNS = {
    "trial": "str",
    "scheme": "str",
    "seed": "int64",
    "layer": "str",
    "kind": "str",
    "fan_in": "Int64",
    "fan_out": "Int64",
    "weight_std": "float64",
    "forward_moment": "float64",
    "gradient_moment": "float64",
    "dead_fraction": "float64",
    "cosine": "float64",
    "forward_moment_predicted": "float64",
    "gradient_moment_predicted": "float64",
    "cosine_predicted": "float64",
    "predicted_from": "str",
    "spread": "float64",
    "nonlinearity": "str",
    "forward_std": "float64",
    "activation_moment": "float64",
    "activation_std": "float64",
    "gradient_std": "float64",
    "weight_gradient_moment": "float64",
    "weight_gradient_std": "float64",
    "weight_norm": "float64",
    "effective_rank": "float64",
    "units": "int64",
    "outputs": "int64",
    "zero_rows": "int64",
    "duplicate_rows": "int64",
    "antiparallel_rows": "int64",
    "symmetric_units": "int64",
}


def trials_frame(records_with_targets: Iterable[tuple[Record, float]]) -> pd.DataFrame:
    """Return one row per trial with `TRIAL_COLUMNS`; losses in nats, accuracies as shares, times in seconds.

    `steps_to_target` is the step of the first point whose validation accuracy is at least its target.
    """
    rows = (_trial_row(record, target) for record, target in records_with_targets)
    parts = []
    # As columns, rows take a tenth of the memory: a million of them are never held at once.
    while part := list(islice(rows, ROWS_AT_ONCE)):
        parts.append(pd.DataFrame(_columns(part, TRIAL_COLUMNS)).astype(TRIAL_COLUMNS))
    return pd.concat(parts, ignore_index=True) if parts else table([], TRIAL_COLUMNS)


def curves_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per curve point with `CURVE_COLUMNS`."""
    return _parts(records, ("scheme", "lr", "seed"), lambda record: record.curve, CURVE_COLUMNS)


def layers_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Return one row per layer at step 0 with `LAYER_COLUMNS`."""
    return _parts(records, ("scheme", "seed"), lambda record: record.layers, LAYER_COLUMNS)


def learned_trials(records: Iterable[Record]) -> frozenset[str]:
    """Return the ids of the finished trials whose final validation accuracy beats the constant guess."""
    return frozenset(record.trial.id for record in records if has_learned(record))


def can_show_learning(record: Record) -> bool:
    """Return whether a perfect score on the validation split would beat the constant guess by more than chance."""
    size = record.data.val_size
    return beats_guessing(size, size, record.data.guess)


def table(rows: list[dict[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Return rows as a frame of exactly these columns and types, even without rows."""
    return pd.DataFrame(rows, columns=list(columns)).astype(dict(columns))


def _parts(
    records: Iterable[Record],
    key: Sequence[str],
    parts: Callable[[Record], Sequence[Any]],
    columns: Mapping[str, str],
) -> pd.DataFrame:
    """Return one row per part of a record: the trial's id, its attributes `key`, then the part's own columns.

    There are a hundred times as many parts as records, so the keys are built once per record and repeated.
    """
    records = list(records)
    get_key, own = attrgetter(*key), [name for name in columns if name not in {"trial", *key}]
    keys = pd.DataFrame([(record.trial.id, *get_key(record.trial)) for record in records], columns=["trial", *key])
    owners = np.repeat(np.arange(len(records)), [len(parts(record)) for record in records])
    # Each part is visited once: they are scattered in memory, and reaching them is what takes the time.
    rows = list(map(attrgetter(*own), chain.from_iterable(map(parts, records))))
    cells = _columns(rows, {name: columns[name] for name in own})
    return keys.take(owners).reset_index(drop=True).assign(**cells).astype(dict(columns))


def _columns(rows: Sequence[tuple[Any, ...]], columns: Mapping[str, str]) -> "dict[str, pd.Series[Any]]":
    """Return the columns of rows that hold a cell for each of them; None is a missing number."""
    by_column = zip(*rows, strict=True) if rows else [()] * len(columns)
    return {name: _column(cells, columns[name]) for name, cells in zip(columns, by_column, strict=True)}


def _column(cells: Sequence[Any], kind: str) -> "pd.Series[Any]":
    # Straight to an array of floats: through objects it takes pandas five times as long.
    return pd.Series(np.array(cells, dtype=np.float64) if kind == "float64" else cells, dtype=kind)


_SET = attrgetter(*list(TRIAL_COLUMNS)[1:11])  # what the columns before the outcome say of a trial


def _trial_row(record: Record, target: float) -> tuple[Any, ...]:
    return (
        record.trial.id,
        *_SET(record.trial),
        record.outcome.status,
        next((point.val_loss for point in record.curve if point.step == 0), None),
        *_final(record),
        next((point.step for point in record.curve if point.val_accuracy >= target), None),
        record.timings.seconds_init,
        record.timings.seconds_train,
        record.initialization_steps,
    )


def _final(record: Record) -> tuple[float | None, ...]:
    final = record.final
    if final is None:
        return (None,) * 7
    return (
        final.train_loss,
        final.train_accuracy,
        final.val_loss,
        final.val_accuracy,
        final.test_loss,
        final.test_accuracy,
        _difference(final.test_loss, final.train_loss),
    )


def _difference(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left - right


def has_learned(record: Record) -> bool:
    """Return whether a trial finished with a validation accuracy that beats the constant guess."""
    if record.final is None:
        return False
    # The accuracy is a count over the split size, so rounding recovers the count.
    correct = round(record.final.val_accuracy * record.data.val_size)
    return beats_guessing(correct, record.data.val_size, record.data.guess)
