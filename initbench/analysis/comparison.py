"""What a comparison asked and the records that answer it; tables are worked out when first read."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from initbench.analysis.frames import curves_frame, layers_frame, learned_trials, trials_frame
from initbench.analysis.summary import summarize
from initbench.recipe import default_target
from initbench.record import Record


@dataclass(frozen=True)
class Comparison:
    """A question, how it was asked, and the records stored for it.

    `target` is the validation accuracy asked for, or None for the rule that fixes one by the number of classes
    (`recipe.default_target`); `schemes` stand in the order asked for; `missing` counts trials planned and not stored;
    `command` reproduces the comparison.
    """

    name: str
    question: str
    target: float | None
    baseline: str
    schemes: tuple[str, ...]
    records: tuple[Record, ...]
    missing: int
    command: str = ""

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row a trial (`frames.TRIAL_COLUMNS`)."""
        return trials_frame([(record, self.target_of(record)) for record in self.records])

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row a point (`frames.CURVE_COLUMNS`)."""
        return curves_frame(self.records)

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row a layer at step 0 (`frames.LAYER_COLUMNS`)."""
        return layers_frame(self.records)

    @cached_property
    def learned(self) -> frozenset[str]:
        """The ids of the trials that learned: finished, and better than the constant guess by more than luck."""
        return learned_trials(self.records)

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row a scheme in its setting (`summary.SUMMARY_COLUMNS`)."""
        return summarize(self.trials, self.learned, self.schemes)

    def target_of(self, record: Record) -> float:
        """Return the target that holds for a record."""
        return default_target(record.data.classes) if self.target is None else self.target

    def report(self, path: Path | str) -> Path:
        """Write the report, one HTML file that works offline, and return where it is.

        Raises:
            ConfigurationError: the folder cannot be written.
        """
        from initbench.analysis.report import write_report  # noqa: PLC0415 - matplotlib loads when a figure is wanted

        return write_report(Path(path), self)
