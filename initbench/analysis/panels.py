"""A panel: the trials that stand in one table. One per setting or, with tuned rates, per way of choosing the lr."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from initbench.analysis.settings import Setting, within
from initbench.analysis.summary import SETTING
from initbench.analysis.tuning import Choice

Rule = Literal["given lr", "own lr", "common lr"]


@dataclass(frozen=True)
class Panel:
    """Where schemes are compared: a dataset, model and optimizer, and by which rule each scheme has its lr.

    `rates` holds the lr of each scheme under "own lr"; else `lr` is everyone's.
    """

    dataset: str
    model: str
    optimizer: str
    lr: float | None
    rule: Rule = "given lr"
    rates: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        lr = "" if self.lr is None else f"{self.lr:g}"
        said = {
            "given lr": f"lr {lr}",
            "own lr": "each scheme at its own best lr",
            "common lr": f"all at the common lr {lr}",
        }
        return f"{self.dataset}, {self.model}, {self.optimizer}, {said[self.rule]}"

    @property
    def key(self) -> tuple[object, ...]:
        """What tells the files of this panel from those of another."""
        return (*self.place, self.lr if self.rule == "given lr" else self.rule)

    @property
    def place(self) -> tuple[str, str, str]:
        """Dataset, model and optimizer."""
        return self.dataset, self.model, self.optimizer

    def rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the panel's rows of a frame of trials or of a summary."""
        if self.lr is not None:
            return within(frame, SETTING, (*self.place, self.lr))
        here = within(frame, SETTING[:3], self.place)
        return here[here["lr"] == here["scheme"].map(dict(self.rates)).astype("float64")]

    def lr_of(self, scheme: str) -> float | None:
        """Return the lr of a scheme here, None where it has none."""
        return self.rates.get(scheme) if self.lr is None else self.lr


def panels_of(settings: Sequence[Setting], choices: Sequence[Choice]) -> tuple[Panel, ...]:
    """Return two panels where a `tuning.Choice` of rates was made, elsewhere one per setting, in their order."""
    chosen = {(choice.dataset, choice.model, choice.optimizer): choice for choice in choices}
    panels: dict[tuple[object, ...], Panel] = {}
    for setting in settings:
        choice = chosen.get(setting[:3])
        for panel in [Panel(*setting)] if choice is None else _tuned(choice):
            panels.setdefault(panel.key, panel)
    return tuple(panels.values())


def _tuned(choice: Choice) -> list[Panel]:
    place = (choice.dataset, choice.model, choice.optimizer)
    return [
        Panel(*place, None, "own lr", dict(choice.own)),
        Panel(*place, float(choice.common), "common lr"),
    ]
