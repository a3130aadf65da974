"""The sentences around the tables: what was compared, what was found, what limits it and how to read it."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from initbench.analysis.panels import Panel
from initbench.analysis.results import Results
from initbench.analysis.stability import ends_in_spike
from initbench.core.text import printable
from initbench.core.words import counted, listed
from initbench.records.recipe import is_majority_chance
from initbench.records.record import Environment, Record
from initbench.report.tuning import describe_tuning
from initbench.report.verdict_lines import overview

_INTERVALS = (
    "± is the half-width of the 95 % Student t interval of the mean over seeds; (k/n) after a mean: only k of n trials "
    "have the value."
)
_LEARNED = (
    "learned: finished, and significantly better on validation than always predicting the most frequent class (exact "
    "binomial test, p < 0.001)."
)
_TOO_SMALL = "Too few validation images to tell who learned: not even a perfect score would be significant."
_STEPS = (
    "steps to target: Kaplan-Meier median (trials that reached it / trials that did not fail); a trial that did not "
    "reach it is censored at its budget of steps."
)


@dataclass(frozen=True)
class Finding:
    """One panel's verdict in a sentence, then which schemes learned and the highest mean."""

    verdict: str
    more: str


def introduction(comparison: Results) -> str:
    """Return the sentences above the tables: question, extent, target and its rule, baseline."""
    parts = [comparison.question.rstrip(), _extent(comparison.records), _target(comparison)]
    return printable(" ".join(part for part in parts if part))


def caveats(comparison: Results) -> tuple[str, ...]:
    """Return what limits the tables: missing and failed trials, notices, mixed machines, a single lr."""
    records = comparison.records
    lines = (
        *_missing(comparison),
        *_failures(records),
        *_said_before(comparison),
        *_notices(records),
        *_machines(records),
    )
    return tuple(map(printable, (*lines, *_given_rates(comparison))))


def readings(comparison: Results) -> tuple[str, ...]:
    """Return how to read the tables: how learning rates were chosen, what headers and signs mean."""
    meanings = (*_chosen_rates(comparison), _LEARNED, _STEPS, _INTERVALS) if comparison.records else ()
    return tuple(map(printable, meanings))


def findings(comparison: Results) -> tuple[Finding, ...]:
    """Return the finding of each panel."""
    return tuple(_finding(comparison, panel) for panel in comparison.panels)


def describe_spikes(records: Iterable[Record]) -> str:
    """Return a sentence on the trials that end in a loss spike, "" where none does."""
    records = tuple(records)
    counts = Counter(record.trial.scheme for record in records if ends_in_spike(record))
    listed = ", ".join(f"{scheme} {count}" for scheme, count in counts.items())
    return f"{counts.total()} of {len(records)} trials end in a loss spike: {listed}." if counts else ""


def _extent(records: tuple[Record, ...]) -> str:
    if not records:
        return "No trial is stored yet."
    schemes = len({record.trial.scheme for record in records})
    seeds = {record.trial.seed for record in records}
    counts = f"{counted(len(records), 'trial')}: {counted(schemes, 'scheme')}, {counted(len(seeds), 'seed')}"
    return f"{counts}{_precision(records)}."


def _precision(records: tuple[Record, ...]) -> str:
    low = sorted({record.trial.precision for record in records} - {"float32"})
    return f", computed in {listed(low)}, which can change the conclusion" if low else ""


def target_rule(comparison: Results) -> str:
    """Return how the target was chosen."""
    if comparison.target is not None:
        return "as given"
    data = (record.data for record in comparison.records)
    unlike = any(is_majority_chance(each.classes, each.guess) for each in data)
    return f"halfway between {'the share of the most frequent class' if unlike else 'chance'} and 1"


def _target(comparison: Results) -> str:
    rule = target_rule(comparison)
    targets = dict.fromkeys(f"{comparison.target_of(record):.4g}" for record in comparison.records)
    target = f"Target: validation accuracy ≥ {' or '.join(targets)} ({rule})" if targets else f"Target: {rule}"
    absent = "" if comparison.baseline in comparison.schemes else " (not among these schemes)"
    return f"{target}. Baseline: {comparison.baseline}{absent}."


def _missing(comparison: Results) -> Iterable[str]:
    if comparison.missing:
        stored = {record.trial.scheme for record in comparison.records}
        absent = [scheme for scheme in comparison.schemes if scheme not in stored]
        nothing = f" No trial is stored for: {listed(absent)}." if absent else ""
        damaged = f"{counted(len(comparison.damaged), 'damaged file')}"
        why = damaged if comparison.damaged else "the run was interrupted or is still running"
        yield (
            f"Not stored: {counted(comparison.missing, 'planned trial')} ({why}); "
            f"this summary covers the stored trials only. Rerun the same command to continue.{nothing}"
        )


def _failures(records: tuple[Record, ...]) -> Iterable[str]:
    seeds = defaultdict(list)
    for record in records:
        if record.outcome.status == "failed":
            seeds[record.trial.scheme, record.outcome.reason].append(record.trial.seed)
    for (scheme, reason), failed in seeds.items():
        where = f"seed{'s' * (len(set(failed)) > 1)} {', '.join(map(str, sorted(set(failed))))}"
        yield f"{counted(len(failed), 'trial')} of {scheme} failed ({where}): {reason or 'no reason was recorded'}"


def _said_before(comparison: Results) -> Iterable[str]:
    """Yield what was said before training but of layers, which `_notices` tells with the schemes that it concerns."""
    of_layers = {notice for record in comparison.records for notice in record.notices}
    for notice in comparison.notices:
        if not any(notice.endswith(f": {each}") for each in of_layers):
            yield notice


def _notices(records: tuple[Record, ...]) -> Iterable[str]:
    schemes: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        for notice in record.notices:
            schemes[notice][record.trial.scheme] = None
    for notice, names in schemes.items():
        yield f"{notice} [{listed(names)}]"


def _machines(records: tuple[Record, ...]) -> Iterable[str]:
    """Yield a caveat where trials come from several kinds of machine or versions: a pair should be trained on one."""
    environments = [record.environment for record in records]
    versions = len({used.initbench for used in environments}) > 1

    def kind(used: Environment) -> str:
        own = f"initbench {used.initbench}" if versions else ""
        return f"{used.device} ({', '.join(filter(None, (used.instructions, used.blas, f'torch {used.torch}', own)))})"

    kinds = Counter(map(kind, environments))
    if len(kinds) > 1:
        machines = "; ".join(f"{name}: {counted(count, 'trial')}" for name, count in kinds.items())
        yield (
            f"These trials were trained on {len(kinds)} kinds of machine ({machines}). The same trial can end "
            "differently on another kind, because rounding errors grow during training; means and intervals remain "
            "valid."
        )


def _chosen_rates(comparison: Results) -> Iterable[str]:
    if comparison.tuned_rates:
        yield "Learning rates were chosen from separate tuning trials, which are in tuning.csv only."
    for rates in comparison.tuned_rates:
        where = f"{rates.dataset}, {rates.model}, {rates.optimizer}: " if len(comparison.tuned_rates) > 1 else ""
        added = [lr for lr in rates.grid if lr not in comparison.asked_rates] if comparison.asked_rates else []
        yield from (where + line for line in describe_tuning(rates, added))


def _given_rates(comparison: Results) -> Iterable[str]:
    if comparison.tuned_rates or comparison.trials.empty:
        return
    rates = sorted(set(comparison.trials["lr"]))
    if len(rates) == 1:
        yield f"Schemes are compared at lr {rates[0]:g} only; their order may differ at another lr."
    else:
        yield "Each table compares schemes at one lr; no best lr is chosen for a scheme."


def _finding(comparison: Results, panel: Panel) -> Finding:
    rows = panel.rows(comparison.summary)
    where = f"{panel}: " if len(comparison.panels) > 1 else ""
    verdict = overview(comparison.judgements[panel], comparison.baseline)
    small = panel.dataset in comparison.too_small
    learned = [_TOO_SMALL] if small else _who_learned(rows)
    return Finding(printable(where + verdict), printable(" ".join([*learned, _highest(rows, small=small)])))


def _who_learned(rows: pd.DataFrame) -> Iterable[str]:
    every, none = rows["learned"] == rows["n"], rows["learned"] == 0
    if every.any():
        yield f"All trials learned with {listed(rows.loc[every, 'scheme'])}."
    if (some := ~every & ~none).any():
        counts = [f"{row.scheme} ({row.learned} of {row.n})" for row in rows[some].itertuples()]
        yield f"Some trials learned with {listed(counts)}."
    if none.any():
        yield f"No trial learned with {listed(rows.loc[none, 'scheme'])}."


def _highest(rows: pd.DataFrame, *, small: bool) -> str:
    """Name the highest mean among schemes that learned and lost no trial: means over survivors are not comparable.

    Where the validation split is too `small` to tell who learned, those that lost no trial.
    """
    learned = (rows["learned"] > 0) | small
    whole = rows[(rows["test_n"] == rows["n"]) & learned & rows["test_accuracy"].notna()]
    if whole.empty:
        did = "finished" if small else "learned and finished"
        return f"No scheme {did} all of its trials, so no highest test accuracy is named."
    top = whole[whole["test_accuracy"] == whole["test_accuracy"].max()]
    first = top.iloc[0]
    interval = f"95 % interval {first['test_accuracy_low']:.4f} to {first['test_accuracy_high']:.4f}"
    uncertainty = interval if first["test_n"] > 1 else "no interval from a single trial"
    among = "" if (rows["test_n"] == rows["n"]).all() else " among the schemes that finished all of their trials"
    return (
        f"The highest mean test accuracy{among}: {listed(top['scheme'])}, {first['test_accuracy']:.4f} "
        f"({uncertainty}, n = {first['test_n']}); this ranking is not tested."
    )
