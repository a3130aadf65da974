"""Panels: the trials of one table. One per setting or, with tuned rates, per rule of choosing the lr."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import pandas as pd

from initbench.analysis.summary import PLACE, SETTING
from initbench.analysis.tuning import TunedRates
from initbench.core.text import slug
from initbench.records.recipe import Place

Rule = Literal["given lr", "own lr", "common lr"]


class Setting(NamedTuple):
    """Where schemes are compared: columns of the trials and of the summary."""

    dataset: str
    model: str
    optimizer: str
    batch_size: int
    lr: float

    @property
    def place(self) -> Place:
        """The setting without its learning rate."""
        return Place(*self[:-1])

    def __str__(self) -> str:
        return f"{self.place}, lr {self.lr:g}"


@dataclass(frozen=True)
class Panel:
    """Where schemes are compared: a dataset, model, optimizer and batch size, and the rule of each scheme's lr.

    `rates` holds the lr of each scheme under "own lr"; else all have `lr`.
    """

    dataset: str
    model: str
    optimizer: str
    batch_size: int
    lr: float | None
    rule: Rule = "given lr"
    rates: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return f"{self.place}, {self.rate}"

    @property
    def rate(self) -> str:
        """The learning rate in words: `lr 0.02`, `each scheme at its own best lr`."""
        lr = "" if self.lr is None else f"{self.lr:g}"
        by_rule = {
            "given lr": f"lr {lr}",
            "own lr": "each scheme at its own best lr",
            "common lr": f"all at the common lr {lr}",
        }
        return by_rule[self.rule]

    @property
    def key(self) -> tuple[object, ...]:
        """What distinguishes the files of this panel from those of another."""
        return (*self.place, self.lr if self.rule == "given lr" else self.rule)

    @property
    def place(self) -> Place:
        """Dataset, model, optimizer and batch size."""
        return Place(self.dataset, self.model, self.optimizer, self.batch_size)

    def rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the panel's rows of a frame of trials or of a summary."""
        if self.lr is not None:
            return within(frame, SETTING, (*self.place, self.lr))
        here = within(frame, PLACE, self.place)
        return here[here["lr"] == here["scheme"].map(dict(self.rates)).astype("float64")]

    def lr_of(self, scheme: str) -> float | None:
        """Return the lr of a scheme here, None where it has none."""
        return self.rates.get(scheme) if self.lr is None else self.lr


def panels_of(settings: Sequence[Setting], tuned: Sequence[TunedRates]) -> tuple[Panel, ...]:
    """Return two panels where rates were tuned, elsewhere one per setting, in their order."""
    by_place = {rates.place: rates for rates in tuned}
    panels: dict[tuple[object, ...], Panel] = {}
    for setting in settings:
        rates = by_place.get(setting.place)
        for panel in [Panel(*setting)] if rates is None else _tuned_panels(rates):
            panels.setdefault(panel.key, panel)
    return tuple(panels.values())


def _tuned_panels(rates: TunedRates) -> list[Panel]:
    return [
        Panel(*rates.place, None, "own lr", dict(rates.own)),
        Panel(*rates.place, float(rates.common), "common lr"),
    ]


def settings_of(frame: pd.DataFrame) -> list[Setting]:
    """Return the settings of a frame of trials or of a summary, in the order of its rows."""
    return [Setting(*row) for row in frame[list(SETTING)].drop_duplicates().itertuples(index=False, name=None)]


def within(frame: pd.DataFrame, columns: Sequence[str], values: Sequence[object]) -> pd.DataFrame:
    """Return the rows whose `columns` hold `values`."""
    return frame[(frame[list(columns)] == list(values)).all(axis=1)]


def suffixes(keys: Sequence[tuple[object, ...]]) -> list[str]:
    """Return distinct suffixes for the file names of these keys: empty for one key, else the parts that vary.

    Two keys may give the same file name (`a/b` and `a-b`); the later one gets a number.
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
    if isinstance(part, float):
        return f"lr-{part:g}"
    return f"batch-{part}" if isinstance(part, int) else slug(str(part))


def _unused(name: str, taken: Sequence[str]) -> str:
    numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return name if name not in taken else next(other for other in numbered if other not in taken)
