"""What a comparison asked and the records that answer it; tables are worked out when first read."""

from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from initbench.analysis.across import Across, across
from initbench.analysis.claims import ClaimVerdict, judge_claims
from initbench.analysis.frames import curves_frame, layers_frame, learned_trials, trials_frame
from initbench.analysis.judgements import Judgement, budget_of, judge, judge_all_pairs, survival_of, verdicts_frame
from initbench.analysis.panels import Panel, panels_of, settings_of
from initbench.analysis.stability import Stability, loss_instability, stability
from initbench.analysis.statistics.survival import Survival
from initbench.analysis.step_zero.checks import Check, diagnose
from initbench.analysis.summary import SETTING, in_order, summarize
from initbench.analysis.tuning import TunedRates, tune_rates
from initbench.records.recipe import Claim, default_target
from initbench.records.record import Record, StepZero


@dataclass(frozen=True)
class Results:
    """A question, how it was asked, and the records stored for it.

    `target` is the validation accuracy asked for, or None for the rule that fixes one by the number of classes
    (`recipe.default_target`); `schemes` stand in the order asked for; `missing` counts trials planned and not stored,
    `damaged` names the files among them that hold no whole record;
    `command` reproduces the comparison. `tuning` are the records from which each scheme's lr was chosen, of seeds that
    no scoring record has: they stand in no table but their own; `asked_rates` is the grid before it was extended.
    `crossed` are the trials off the diagonal of init seeds × order seeds; `looks` the seeds of earlier runs under this
    name.
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

    @cached_property
    def tuning_trials(self) -> pd.DataFrame:
        """One row a tuning trial (`frames.TRIAL_COLUMNS`)."""
        return trials_frame([(record, self.target_of(record)) for record in self.tuning])

    @cached_property
    def tuned_rates(self) -> tuple[TunedRates, ...]:
        """The learning rates chosen from the tuning trials, per dataset, model and optimizer."""
        return tune_rates(self.tuning)

    @cached_property
    def panels(self) -> tuple[Panel, ...]:
        """Where schemes are compared: one panel a setting; with tuned rates, one at each own lr, one at a common lr."""
        return panels_of(settings_of(self.trials), self.tuned_rates)

    @cached_property
    def judgements(self) -> dict[Panel, tuple[Judgement, ...]]:
        """Every scheme against the baseline, panel by panel; Holm's family is the schemes of a panel."""
        return {panel: judge(panel.rows(self.marked), self.schemes, self.baseline) for panel in self.panels}

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """One row a scheme and panel, but for the baseline (`judging.VERDICT_COLUMNS`)."""
        return verdicts_frame(self.judgements)

    @cached_property
    def survivals(self) -> dict[Panel, dict[str, Survival]]:
        """When the trials of each scheme reached the target, the baseline's too, panel by panel."""
        return {panel: self._survivals(panel.rows(self.trials)) for panel in self.panels}

    @cached_property
    def across(self) -> tuple[Across, ...]:
        """What each scheme does over several settings; nothing where there is one, or none that schemes share."""
        return across(self.panels, self.trials, self.schemes, self.baseline)

    @cached_property
    def step_zero_checks(self) -> dict[tuple[str, str, str], tuple[Check, ...]]:
        """What each check says of step 0 by (dataset, model, scheme): no optimizer or lr has touched it yet."""
        seen: dict[tuple[str, str, str], dict[int, StepZero]] = {}
        for record in self.records:
            if record.network is not None:
                key = (record.trial.dataset, record.trial.model, record.trial.scheme)
                seen.setdefault(key, {})[record.trial.seed] = StepZero(layers=record.layers, network=record.network)
        return {key: diagnose(list(steps.values())) for key, steps in seen.items()}

    @cached_property
    def stability(self) -> tuple[Stability, ...]:
        """Generalization gap and early stability, one row a setting and scheme."""
        return stability(self.records)

    @cached_property
    def claims_judged(self) -> tuple[ClaimVerdict, ...]:
        """The verdict on each claim, from the scored trials: at each scheme's own lr where rates were tuned."""
        early = {record.trial.id: loss_instability(record).value for record in self.records}
        trials = self.marked.assign(instability=self.trials["trial"].map(early).astype("float64"))
        if not self.tuned_rates:
            return judge_claims(self.claims, trials)
        own = [panel.rows(trials).index for panel in self.panels if panel.rule == "own lr"]
        kept = trials.loc[[place for index in own for place in index]]
        return judge_claims(self.claims, kept, pair_on=SETTING[:3])

    def all_pairs(self) -> pd.DataFrame:
        """Return every scheme against every other (`judging.VERDICT_COLUMNS`), Holm's family being a panel's pairs.

        The column `baseline` names the other of the pair, which the words call the baseline.
        """
        return verdicts_frame({panel: judge_all_pairs(panel.rows(self.marked), self.schemes) for panel in self.panels})

    @cached_property
    def marked(self) -> pd.DataFrame:
        """The trials with a column that says which of them learned."""
        return self.trials.assign(learned=self.trials["trial"].isin(list(self.learned)))

    def target_of(self, record: Record) -> float:
        """Return the target that holds for a record."""
        return default_target(record.data.classes) if self.target is None else self.target

    def _survivals(self, trials: pd.DataFrame) -> dict[str, Survival]:
        schemes = in_order(trials["scheme"], self.schemes)
        return {scheme: survival_of(trials, scheme, budget_of(trials)) for scheme in schemes}
