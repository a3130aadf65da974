"""An inspection as users hold it: its answer, its tables, and how a notebook shows it."""

from functools import cached_property
from typing import TYPE_CHECKING

from initbench.analysis.step_zero.inspection import Inspection, checks_table, verdicts_table
from initbench.core.text import printable
from initbench.report.step_zero_answer import step_zero_answer
from initbench.report.text_table import text_table

if TYPE_CHECKING:
    import pandas as pd


class Inspected(Inspection):
    """Networks at step 0: `.answer`, the DataFrames `.verdicts`, `.verdicts_full`, `.layers` and `.networks`."""

    @cached_property
    def answer(self) -> str:
        """Which schemes pass the checks at step 0, and what the others fail, in one sentence."""
        return step_zero_answer(self)

    @cached_property
    def verdicts(self) -> "pd.DataFrame":
        """One row per scheme (`step_zero.inspection.VERDICT_COLUMNS`), with its model if there are several."""
        return verdicts_table(self).drop(columns=[] if len(self.models) > 1 else ["model"])

    @cached_property
    def verdicts_full(self) -> "pd.DataFrame":
        """One row per scheme and check: what was measured, and what to do (`step_zero.inspection.CHECK_COLUMNS`)."""
        return checks_table(self)

    def __repr__(self) -> str:
        shown = self.verdicts[[*(["model"] if len(self.models) > 1 else []), "scheme", "verdict", "fails", "warns"]]
        table = text_table(tuple(shown.columns), shown.map(printable).to_numpy().tolist())
        return f"{self.answer}\n\n{table}\n\nDataFrames: .verdicts .verdicts_full .layers .networks"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from initbench.report.page.notebook import inspection_html  # noqa: PLC0415 - loads matplotlib

        return inspection_html(self)
