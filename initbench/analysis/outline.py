"""A comparison of any size in outline: its trials and their summary, from records that are read and dropped."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from initbench.analysis.frames import has_learned, trials_frame
from initbench.analysis.summary import summarize
from initbench.analysis.targets import target_of
from initbench.records.record import Record


@dataclass(frozen=True)
class Outline:
    """The trials and the summary of a comparison, the tables of `Results.trials` and `Results.summary`.

    `missing` counts the planned trials that are not stored, `damaged` names those of their files that are damaged.
    """

    trials: pd.DataFrame
    summary: pd.DataFrame
    missing: int
    damaged: tuple[str, ...]


def outlined(
    records: Iterable[Record], target: float | None, nearest_mean: Mapping[str, float], schemes: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the table of trials and the summary of `records`, which are not kept.

    `target` is the requested validation accuracy, None for the default, which follows from `nearest_mean`.
    """
    learned = bytearray()  # a million names would take a tenth of a gigabyte

    def scored() -> Iterator[tuple[Record, float]]:
        for record in records:
            learned.append(has_learned(record))
            yield record, target_of(record, target, nearest_mean).accuracy

    trials = trials_frame(scored())
    return trials, summarize(trials.assign(learned=np.frombuffer(learned, np.bool_)), schemes)
