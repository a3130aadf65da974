"""A setting (dataset, model, optimizer, lr): what a comparison of schemes holds fixed."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from initbench.analysis.summary import SETTING
from initbench.analysis.text import slug


class Setting(NamedTuple):
    """Where schemes are compared; its fields are columns of the trials and of the summary."""

    dataset: str
    model: str
    optimizer: str
    lr: float

    def __str__(self) -> str:
        return f"{self.dataset}, {self.model}, {self.optimizer}, lr {self.lr:g}"


def settings_of(frame: pd.DataFrame) -> list[Setting]:
    """Return the settings of a frame of trials or of a summary, in the order of its rows."""
    return [Setting(*row) for row in frame[list(SETTING)].drop_duplicates().itertuples(index=False, name=None)]


def within(frame: pd.DataFrame, columns: Sequence[str], values: Sequence[object]) -> pd.DataFrame:
    """Return the rows whose `columns` hold `values`."""
    return frame[(frame[list(columns)] == list(values)).all(axis=1)]


def suffixes(keys: Sequence[tuple[object, ...]]) -> list[str]:
    """Return what tells the file names of these keys apart: nothing for one, else the parts that vary.

    Two keys may read the same as file names (`a/b` and `a-b`); the later one gets a number.
    """
    if len(keys) < 2:
        return [""] * len(keys)
    varying = [len({key[i] for key in keys}) > 1 for i in range(len(keys[0]))]
    names: list[str] = []
    for key in keys:
        parts = [_part(part) for part, varies in zip(key, varying, strict=True) if varies]
        names.append(_unused("-" + "-".join(parts), names))
    return names


def _part(part: object) -> str:
    return f"lr-{part:g}" if isinstance(part, float) else slug(str(part))


def _unused(name: str, taken: Sequence[str]) -> str:
    numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(other for other in numbered if other not in taken)
