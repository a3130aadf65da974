"""The results of a comparison: its question, its records, and tables computed when first read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from initbench.analysis.across import Across, across
from initbench.analysis.best import Best, best_of
from initbench.analysis.claims import ClaimVerdict, judge_claims
from initbench.analysis.frames import can_show_learning, curves_frame, layers_frame, learned_trials, trials_frame
from initbench.analysis.judgements import (
    READ_COLUMNS,
    Judgement,
    budget_of,
    judge,
    judge_all_pairs,
    judged_without_learning,
    survival_of,
    verdicts_frame,
)
from initbench.analysis.metrics import METRICS
from initbench.analysis.panels import Panel, panels_of, settings_of
from initbench.analysis.stability import Stability, loss_instability, stability
from initbench.analysis.statistics.families import Adjusted
from initbench.analysis.statistics.survival import Survival
from initbench.analysis.step_zero.agreement import withhold
from initbench.analysis.step_zero.checks import Check, diagnose_together
from initbench.analysis.summary import PLACE, in_order, summarize
from initbench.analysis.targets import Target, target_of
from initbench.analysis.tuning import TunedRates, tune_rates
from initbench.records.recipe import Claim
from initbench.records.record import Record, StepZero


@dataclass(frozen=True)
class Results:
    """The question of a comparison, its parameters, and the records stored for it.

    `target` is the requested validation accuracy, or None for the default (`targets.target_of`), which follows from
    `nearest_mean`, the validation accuracy of the nearest class mean by the dataset's fingerprint. `schemes` are in the
    requested order; `missing` counts the planned trials that are not stored, `damaged` names those of their files that
    are damaged; `command` reproduces the comparison. `tuning` are the records from which each scheme's lr was chosen,
    of seeds that no scoring record has: no table but their own shows them. `asked_rates` is the grid before it was
    extended. `crossed` are the trials off the diagonal of init seeds × order seeds; `looks` the seeds of earlier runs
    under this name; `notices` what was said before training.
    """

    name: str
    question: str
    target: float | None
    baseline: str
    schemes: tuple[str, ...]
    records: tuple[Record, ...]
    missing: int
    command: str = ""
    tuning: tuple[Record, ...] = ()
    crossed: tuple[Record, ...] = ()
    claims: tuple[Claim, ...] = ()
    looks: tuple[tuple[int, ...], ...] = ()
    asked_rates: tuple[float, ...] = ()
    damaged: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    nearest_mean: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial (`frames.TRIAL_COLUMNS`)."""
        return trials_frame([(record, self.target_of(record)) for record in self.records])

    @cached_property
    def curves(self) -> pd.DataFrame:
        """One row per curve point (`frames.CURVE_COLUMNS`)."""
        return curves_frame(self.records)

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row per layer at step 0 (`frames.LAYER_COLUMNS`), without predictions that sampling does not explain."""
        frame = layers_frame(self.records)
        # Numbers, because thousands of texts would be compared for every scheme.
        numbers = {key: number for number, key in enumerate(dict.fromkeys(map(_beginning, self.records)))}
        owner = np.repeat(
            [numbers[_beginning(record)] for record in self.records], [len(record.layers) for record in self.records]
        )
        for key, steps in self._steps.items():
            withhold(frame, owner == numbers[key], list(steps.values()))
        return frame

    @cached_property
    def learned(self) -> frozenset[str]:
        """The ids of the trials that learned: finished, and better than the constant guess by more than chance."""
        return learned_trials(self.records)

    @cached_property
    def too_small(self) -> frozenset[str]:
        """The datasets whose validation split is too small to show that a trial learned, whatever its score."""
        return frozenset(record.trial.dataset for record in self.records if not can_show_learning(record))

    @cached_property
    def summary(self) -> pd.DataFrame:
        """One row per setting and scheme (`summary.SUMMARY_COLUMNS`)."""
        return summarize(self.marked, self.schemes)

    @cached_property
    def tuning_trials(self) -> pd.DataFrame:
        """One row per tuning trial (`frames.TRIAL_COLUMNS`)."""
        return trials_frame([(record, self.target_of(record)) for record in self.tuning])

    @cached_property
    def tuned_rates(self) -> tuple[TunedRates, ...]:
        """The learning rates chosen from the tuning trials, per dataset, model, optimizer and batch size."""
        return tune_rates(self.tuning)

    @cached_property
    def panels(self) -> tuple[Panel, ...]:
        """Where schemes are compared: one panel per setting; with tuned rates one at own lrs, one at a common lr."""
        return panels_of(settings_of(self.trials), self.tuned_rates)

    @cached_property
    def judgements(self) -> dict[Panel, tuple[Judgement, ...]]:
        """Every scheme against the baseline, per panel; Holm's family is the schemes of a panel."""
        judged = {panel: judge(panel.rows(self.marked), self.schemes, self.baseline) for panel in self.panels}
        return {
            panel: judged_without_learning(each) if panel.dataset in self.too_small else each
            for panel, each in judged.items()
        }

    @cached_property
    def best(self) -> dict[Panel, Best]:
        """Which schemes may be the best in test accuracy, per panel."""
        return {
            panel: best_of(panel.rows(self.marked), self.schemes, self.baseline, judged)
            for panel, judged in self.judgements.items()
        }

    @property
    def verdicts(self) -> pd.DataFrame:
        """What one reads of `verdicts_full` (`judgements.READ_COLUMNS`), after what tells its settings apart."""
        full = self.verdicts_full
        varying = [name for name in (*PLACE, "panel", "lr") if len(full[name].unique()) > 1]
        return full[[*varying, *READ_COLUMNS]]

    @cached_property
    def verdicts_full(self) -> pd.DataFrame:
        """One row per panel and scheme except the baseline (`judgements.VERDICT_COLUMNS`)."""
        return verdicts_frame(self.judgements)

    @cached_property
    def survivals(self) -> dict[Panel, dict[str, Survival]]:
        """When the trials of each scheme, the baseline included, reached the target, per panel."""
        return {panel: self._survivals(panel.rows(self.trials)) for panel in self.panels}

    @cached_property
    def across(self) -> tuple[Across, ...]:
        """Aggregates over several settings; empty for a single one, or where schemes share none."""
        return across(self.panels, self.trials, self.schemes, self.baseline)

    @cached_property
    def step_zero_checks(self) -> dict[tuple[str, str, str], tuple[Check, ...]]:
        """The checks on step 0 by (dataset, model, scheme): optimizer and lr have no effect yet."""
        panels: dict[tuple[str, str], dict[str, list[StepZero]]] = {}
        for (dataset, model, scheme), steps in self._steps.items():
            panels.setdefault((dataset, model), {})[scheme] = list(steps.values())
        found = {panel: diagnose_together(schemes) for panel, schemes in panels.items()}
        return {key: found[key[:2]][key[2]] for key in self._steps}

    @cached_property
    def _steps(self) -> dict[tuple[str, str, str], dict[int, StepZero]]:
        """What was measured at step 0, by (dataset, model, scheme) and seed."""
        seen: dict[tuple[str, str, str], dict[int, StepZero]] = {}
        for record in self.records:
            if record.network is not None:
                # A record's parts are valid, and there are thousands: not checked again.
                step = StepZero.model_construct(layers=record.layers, network=record.network)
                seen.setdefault(_beginning(record), {})[record.trial.seed] = step
        return seen

    @cached_property
    def stability(self) -> tuple[Stability, ...]:
        """Generalization gap and early stability, one row per setting and scheme."""
        return stability(self.records)

    @cached_property
    def claims_judged(self) -> tuple[ClaimVerdict, ...]:
        """The verdict on each claim, from the scored trials: at each scheme's own lr where rates were tuned."""
        early = {record.trial.id: loss_instability(record).value for record in self.records}
        trials = self.marked.assign(instability=self.trials["trial"].map(early).astype("float64"))
        if not self.tuned_rates:
            return judge_claims(self.claims, trials, decided=self._decided, too_small=self.too_small)
        own = [panel.rows(trials).index for panel in self.panels if panel.rule == "own lr"]
        kept = trials.loc[[row for index in own for row in index]]
        return judge_claims(self.claims, kept, pair_on=PLACE, decided=self._decided, too_small=self.too_small)

    def all_pairs(self) -> pd.DataFrame:
        """Return every scheme against every other (`judgements.VERDICT_COLUMNS`), Holm's family being a panel's pairs.

        The column `baseline` holds the other scheme of the pair, which the sentences call the baseline.
        """
        return verdicts_frame({panel: judge_all_pairs(panel.rows(self.marked), self.schemes) for panel in self.panels})

    @cached_property
    def marked(self) -> pd.DataFrame:
        """The trials with a column `learned`."""
        return self.trials.assign(learned=self.trials["trial"].isin(list(self.learned)))

    def target_of(self, record: Record) -> float:
        """Return the target of a record: the requested one, or the default for its dataset."""
        return target_of(record, self.target, self.nearest_mean).accuracy

    @cached_property
    def targets(self) -> dict[str, Target]:
        """The target by dataset, and how it was chosen."""
        return {
            record.trial.dataset: target_of(record, self.target, self.nearest_mean)
            for record in (*self.records, *self.tuning)
        }

    def _decided(self, claim: Claim, trials: pd.DataFrame) -> Adjusted | None:
        """Return the tests of a claim that a table decides: of a scheme against the baseline, on the same trials."""
        others = {claim.better, claim.than} - {self.baseline}
        if len(others) != 1 or not METRICS[claim.metric].tested:
            return None
        (other,) = others
        of_claim = trials[trials["scheme"].isin([other, self.baseline])]
        for panel, judged in self.judgements.items():
            rows = panel.rows(self.trials)
            same = set(rows.loc[rows["scheme"].isin([other, self.baseline]), "trial"]) == set(of_claim["trial"])
            if same and panel.rule != "common lr":
                tests = [each for each in judged if each.scheme == other]
                return tests[0].tests(claim.metric) if tests else None
        return None

    def _survivals(self, trials: pd.DataFrame) -> dict[str, Survival]:
        schemes = in_order(trials["scheme"], self.schemes)
        return {scheme: survival_of(trials, scheme, budget_of(trials)) for scheme in schemes}


def _beginning(record: Record) -> tuple[str, str, str]:
    return record.trial.dataset, record.trial.model, record.trial.scheme
