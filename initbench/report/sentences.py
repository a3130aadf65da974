"""What a comparison says in plain words: what was asked, what was found, what a reader must know."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from initbench.analysis.panels import Panel
from initbench.analysis.results import Results
from initbench.analysis.stability import ends_in_spike
from initbench.core.text import printable
from initbench.core.words import counted, listed
from initbench.records.record import Record
from initbench.report.tuning import describe_tuning
from initbench.report.verdict_lines import overview

DEFINITIONS = {
    "learned": "trials that finished and whose final validation accuracy is above that of always answering the most "
    "frequent class by more than luck (one-sided exact binomial test, p < 0.001), out of all trials.",
    "steps to target": "Kaplan-Meier median over the trials that did not fail of the first evaluation at or above the "
    "target, and how many reached it. A trial that never did, or diverged before, counts as not reached by the end of "
    "its steps; without half of them reached there is no median. In brackets the exact 95 % interval of the median, "
    "from 6 trials. Resolution: the steps between two evaluations.",
    "better, worse, faster, slower": "the scheme differs from the baseline by an exact test whose p, adjusted by Holm "
    "over the schemes of the table, is at most 0.05. A point is a hundredth of accuracy; the interval is Student's of "
    "the mean difference over pairs, a pair being the two trials of one seed: same batches, same underlying draws.",
    "learns, reaches": "fewer than half of the baseline's trials learned (reached the target), and the exact McNemar "
    "test over pairs says that the scheme does so more often. “Does not” is a count: fewer than half of its own did.",
    "no detectable difference; about k seeds": "the test found none, which does not show that there is none. About k "
    "seeds in pairs would show a true difference of that size 4 times in 5, as much as differences spread here.",
    "p": "of the exact two-sided sign-flip test: how often the mean difference would be as large if each pair's sign "
    "fell by a coin. With n pairs it is at least 2/2^n. Where pairs differ more in who learned than finished, the "
    "verdict is from McNemar's test of that instead.",
    "p (Holm)": "adjusted for the number of schemes held against the baseline in this table: the chance of one false "
    "“better” or “worse” among them is at most 5 %. Accuracy and steps are each a family of their own.",
    "bootstrap-t": "95 % interval of the same mean from 4,999 studentized resamples of pairs: it keeps more of its "
    "coverage on skewed values; none below 5 pairs.",
    "better in a pair": "the share of pairs in which the scheme is above the baseline, ties half, with its exact "
    "95 % interval.",
    "correlation": "Pearson's, between the two sides of a pair, with Fisher's interval: what pairing gains.",
    "times as fast": "geometric mean of baseline steps over scheme steps, where both of every pair reached the target.",
    "restricted mean": "mean of the steps to the target, a miss counted as the whole budget: the area under the "
    "Kaplan-Meier curve up to it.",
    "log-rank p, first p": "log-rank compares two Kaplan-Meier curves, forgets the pairs and is asymptotic; first is "
    "the exact sign test of who reached the target first in a pair. Both stand beside the verdict, not behind it.",
    "expected running time": "steps spent by all trials over the number that reached the target, as in COCO: the cost "
    "of one arrival when misses are started afresh; with Fieller's interval.",
    "interquartile mean": "across settings: mean of the middle half of all test accuracies, a diverged one ranking "
    "below all; 95 % bootstrap over seeds within each setting. Other models and datasets are not sampled.",
    "chance of a better trial": "across settings: chance that a trial of the scheme is above one of the baseline, ties "
    "half, the mean over settings; not in pairs.",
    "±": "95 % interval of the mean (Student t over seeds); none with fewer than 2 values. With few and skewed values "
    "it covers less than it says.",
    "k/n behind a mean": "only k of the n trials have the value, for the others diverged or failed: the mean speaks of "
    "the survivors.",
    "test accuracy": "share of correct answers on the test split, read once, at the end of a finished trial.",
    "loss at step 0": "validation cross-entropy before the first update, in nats; ln K is that of a uniform guess "
    "among K classes.",
    "diverged": "trials that met a number that is not finite; their curves end there, and nothing stands in for them.",
}
_INTERVALS = "± is the 95 % Student t interval of the mean over seeds; (k/n) after a mean: only k of n have a value."
_LEARNED = (
    "learned: finished, and better on validation than always answering the most frequent class (exact binomial, "
    "p < 0.001)."
)
_STEPS = (
    "steps to target: Kaplan-Meier median (trials that reached it / trials that did not fail); not reaching it is "
    "censored at the end of the trial's steps."
)


@dataclass(frozen=True)
class Finding:
    """A panel's verdict in one sentence, then who learned, who did not and the highest mean."""

    verdict: str
    more: str


def introduction(comparison: Results) -> str:
    """Return the sentences above the tables: question, extent, target and its rule, baseline."""
    parts = [comparison.question.rstrip(), _extent(comparison.records), _target(comparison)]
    return printable(" ".join(part for part in parts if part))


def caveats(comparison: Results) -> tuple[str, ...]:
    """Return what limits the tables: what is missing, failed or was left alone, and that one lr may not be enough."""
    records = comparison.records
    told = (*_missing(comparison), *_failures(records), *_notices(records), *_machines(records))
    return tuple(map(printable, (*told, *_given_rates(comparison))))


def readings(comparison: Results) -> tuple[str, ...]:
    """Return how the tables are read: how learning rates were chosen, what their heads and signs mean."""
    meanings = (*_chosen_rates(comparison), _LEARNED, _STEPS, _INTERVALS) if comparison.records else ()
    return tuple(map(printable, meanings))


def findings(comparison: Results) -> tuple[Finding, ...]:
    """Return what was found panel by panel."""
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


def _target(comparison: Results) -> str:
    rule = "halfway from chance to certainty" if comparison.target is None else "as asked"
    targets = dict.fromkeys(f"{comparison.target_of(record):.4g}" for record in comparison.records)
    target = f"Target: validation accuracy ≥ {' or '.join(targets)} ({rule})" if targets else f"Target: {rule}"
    absent = "" if comparison.baseline in comparison.schemes else " (not among these schemes)"
    return f"{target}. Baseline: {comparison.baseline}{absent}."


def _missing(comparison: Results) -> Iterable[str]:
    if comparison.missing:
        stored = {record.trial.scheme for record in comparison.records}
        absent = [scheme for scheme in comparison.schemes if scheme not in stored]
        nothing = f" Nothing is stored of: {listed(absent)}." if absent else ""
        broken = f"the files of {len(comparison.damaged)} are damaged"
        why = broken if comparison.damaged else "the run was interrupted or still goes on"
        yield (
            f"Not stored: {counted(comparison.missing, 'planned trial')} ({why}); "
            f"what is shown speaks of the stored ones only. The same command goes on from here.{nothing}"
        )


def _failures(records: tuple[Record, ...]) -> Iterable[str]:
    seeds = defaultdict(list)
    for record in records:
        if record.outcome.status == "failed":
            seeds[record.trial.scheme, record.outcome.reason].append(record.trial.seed)
    for (scheme, reason), of_scheme in seeds.items():
        where = f"seed {', '.join(str(seed) for seed in sorted(set(of_scheme)))}"
        yield f"{counted(len(of_scheme), 'trial')} of {scheme} failed ({where}): {reason or 'no reason was recorded'}"


def _notices(records: tuple[Record, ...]) -> Iterable[str]:
    schemes: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        for notice in record.notices:
            schemes[notice][record.trial.scheme] = None
    for notice, told_of in schemes.items():
        yield f"{notice} [{listed(told_of)}]"


def _machines(records: tuple[Record, ...]) -> Iterable[str]:
    """Say where trials come from unlike machines: schemes are compared within a seed, so it had better be one."""
    kinds = Counter(
        f"{of.device} ({', '.join(part for part in (of.instructions, of.blas, f'torch {of.torch}') if part)})"
        for of in (record.environment for record in records)
    )
    if len(kinds) > 1:
        machines = "; ".join(f"{kind}: {counted(count, 'trial')}" for kind, count in kinds.items())
        yield (
            f"These trials were trained on {len(kinds)} kinds of machine ({machines}). The same trial can end "
            "differently on another kind, because rounding errors grow during training; means and intervals stay valid."
        )


def _chosen_rates(comparison: Results) -> Iterable[str]:
    if comparison.tuned_rates:
        yield "Learning rates were chosen on tuning trials, which stand in no table here (tuning.csv)."
    for rates in comparison.tuned_rates:
        where = f"{rates.dataset}, {rates.model}, {rates.optimizer}: " if len(comparison.tuned_rates) > 1 else ""
        added = [lr for lr in rates.grid if lr not in comparison.asked_rates] if comparison.asked_rates else []
        yield from (where + line for line in describe_tuning(rates, added))


def _given_rates(comparison: Results) -> Iterable[str]:
    if comparison.tuned_rates or comparison.trials.empty:
        return
    rates = sorted(set(comparison.trials["lr"]))
    if len(rates) == 1:
        yield f"Schemes are compared at lr {rates[0]:g} only; another lr may order them otherwise."
    else:
        yield "Each table compares at its own lr; none picks a best lr for a scheme."


def _finding(comparison: Results, panel: Panel) -> Finding:
    rows = panel.rows(comparison.summary)
    where = f"{panel}: " if len(comparison.panels) > 1 else ""
    verdict = overview(comparison.judgements[panel], comparison.baseline)
    return Finding(printable(where + verdict), printable(" ".join([*_who_learned(rows), _highest(rows)])))


def _who_learned(rows: pd.DataFrame) -> Iterable[str]:
    every, none = rows["learned"] == rows["n"], rows["learned"] == 0
    if every.any():
        yield f"All trials learned with {listed(rows.loc[every, 'scheme'])}."
    if (some := ~every & ~none).any():
        counts = [f"{row.scheme} ({row.learned} of {row.n})" for row in rows[some].itertuples()]
        yield f"Some did with {listed(counts)}." if every.any() else f"Some trials learned with {listed(counts)}."
    if none.any():
        yield f"None learned with {listed(rows.loc[none, 'scheme'])}."


def _highest(rows: pd.DataFrame) -> str:
    """Name the highest mean among schemes that learned and lost no trial: survivors are not ranked with the whole."""
    whole = rows[(rows["test_n"] == rows["n"]) & (rows["learned"] > 0) & rows["test_accuracy"].notna()]
    if whole.empty:
        return "No scheme learned and finished all of its trials, so none is named the highest in test accuracy."
    top = whole[whole["test_accuracy"] == whole["test_accuracy"].max()]
    first = top.iloc[0]
    interval = f"95 % interval {first['test_accuracy_low']:.4f} to {first['test_accuracy_high']:.4f}"
    said = interval if first["test_n"] > 1 else "no interval from one trial"
    among = "" if (rows["test_n"] == rows["n"]).all() else " among the schemes that finished all of their trials"
    return (
        f"The highest mean test accuracy{among}: {listed(top['scheme'])}, {first['test_accuracy']:.4f} "
        f"({said}, n = {first['test_n']}); whether it is above the next one is not tested here."
    )
