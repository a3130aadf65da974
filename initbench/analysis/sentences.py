"""What a comparison says in plain words: what was asked, what was found, what a reader must know."""

from collections import defaultdict
from collections.abc import Iterable

import pandas as pd

from initbench.analysis.comparison import Comparison
from initbench.analysis.settings import Setting, settings_of, within
from initbench.analysis.summary import SETTING
from initbench.analysis.text import printable
from initbench.record import Record

DEFINITIONS = {
    "learned": "trials that finished and whose final validation accuracy is above that of always answering the most "
    "frequent class by more than luck (one-sided exact binomial test, p < 0.001), out of all trials.",
    "steps to target": "Kaplan-Meier median over the trials that did not fail of the first evaluation at or above the "
    "target, and how many reached it. A trial that never did, or diverged before, counts as not reached by the end of "
    "its steps; without half of them reached there is no median. Resolution: the steps between two evaluations.",
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


def introduction(comparison: Comparison) -> str:
    """Return the sentences above the tables: question, extent, target and its rule, baseline."""
    parts = [comparison.question.rstrip(), _extent(comparison.records), _target(comparison)]
    return printable(" ".join(part for part in parts if part))


def notes(comparison: Comparison) -> tuple[str, ...]:
    """Return what a reader of the tables must know, the alarming first."""
    told = (*_missing(comparison), *_failures(comparison.records), *_notices(comparison.records))
    meanings = (_rates(comparison), _LEARNED, _STEPS, _INTERVALS) if comparison.records else ()
    return tuple(printable(note) for note in (*told, *meanings))


def findings(comparison: Comparison) -> tuple[str, ...]:
    """Return one paragraph per setting: who learned, who did not, the highest mean; no verdict among them."""
    settings = settings_of(comparison.summary)
    return tuple(printable(_finding(comparison.summary, setting, len(settings) > 1)) for setting in settings)


def _extent(records: tuple[Record, ...]) -> str:
    if not records:
        return "No trial is stored yet."
    schemes = len({record.trial.scheme for record in records})
    seeds = {record.trial.seed for record in records}
    return f"{_count(len(records), 'trial')}: {_count(schemes, 'scheme')}, {_count(len(seeds), 'seed')}."


def _target(comparison: Comparison) -> str:
    rule = "halfway from chance to certainty" if comparison.target is None else "as asked"
    targets = dict.fromkeys(f"{comparison.target_of(record):.4g}" for record in comparison.records)
    target = f"Target: validation accuracy ≥ {' or '.join(targets)} ({rule})" if targets else f"Target: {rule}"
    absent = "" if comparison.baseline in comparison.schemes else " (not among these schemes)"
    return f"{target}. Baseline: {comparison.baseline}{absent}."


def _missing(comparison: Comparison) -> Iterable[str]:
    if comparison.missing:
        stored = {record.trial.scheme for record in comparison.records}
        absent = [scheme for scheme in comparison.schemes if scheme not in stored]
        nothing = f" Nothing is stored of: {_listed(absent)}." if absent else ""
        yield (
            f"Not stored: {_count(comparison.missing, 'planned trial')} (the run was interrupted or still goes on); "
            f"what is shown speaks of the stored ones only. The same command goes on from here.{nothing}"
        )


def _failures(records: tuple[Record, ...]) -> Iterable[str]:
    seeds = defaultdict(list)
    for record in records:
        if record.outcome.status == "failed":
            seeds[record.trial.scheme, record.outcome.reason].append(record.trial.seed)
    for (scheme, reason), of_scheme in seeds.items():
        where = f"seed {', '.join(str(seed) for seed in sorted(set(of_scheme)))}"
        yield f"{_count(len(of_scheme), 'trial')} of {scheme} failed ({where}): {reason or 'no reason was recorded'}"


def _notices(records: tuple[Record, ...]) -> Iterable[str]:
    schemes: dict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        for notice in record.notices:
            schemes[notice][record.trial.scheme] = None
    for notice, told_of in schemes.items():
        yield f"{notice} [{_listed(told_of)}]"


def _rates(comparison: Comparison) -> str:
    rates = sorted(set(comparison.trials["lr"]))
    if len(rates) == 1:
        return f"Schemes are compared at lr {rates[0]:g} only; another lr may order them otherwise."
    return "Each table compares at its own lr; none picks a best lr for a scheme."


def _finding(summary: pd.DataFrame, setting: Setting, several: bool) -> str:
    rows = within(summary, SETTING, setting)
    where = f"{setting}: " if several else ""
    return where + " ".join([*_who_learned(rows), _highest(rows)])


def _who_learned(rows: pd.DataFrame) -> Iterable[str]:
    every, none = rows["learned"] == rows["n"], rows["learned"] == 0
    if every.any():
        yield f"All trials learned with {_listed(rows.loc[every, 'scheme'])}."
    if (some := ~every & ~none).any():
        counts = [f"{row.scheme} ({row.learned} of {row.n})" for row in rows[some].itertuples()]
        yield f"Some did with {_listed(counts)}." if every.any() else f"Some trials learned with {_listed(counts)}."
    if none.any():
        yield f"None learned with {_listed(rows.loc[none, 'scheme'])}."


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
        f"The highest mean test accuracy{among}: {_listed(top['scheme'])}, {first['test_accuracy']:.4f} "
        f"({said}, n = {first['test_n']}). This does not test differences between schemes: it holds no verdict against "
        "the baseline."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _listed(names: Iterable[str]) -> str:
    # Semicolons between parts of a scheme would blur a list separated by commas alone.
    return ", ".join(f"“{name}”" if ";" in name else name for name in names)
