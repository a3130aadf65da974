"""The sentences around the tables: what was compared, what was found, what limits it and how to read it."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

from initbench.analysis.results import Results
from initbench.analysis.stability import ends_in_spike
from initbench.analysis.targets import Target
from initbench.core.text import printable
from initbench.core.words import counted, listed
from initbench.records.record import Environment, Record
from initbench.report.tuning import describe_tuning

_INTERVALS = (
    "± is the half-width of the 95 % Student t interval of the mean over seeds; (k/n) after a mean: only k of n trials "
    "have the value."
)
_LEARNED = (
    "learned: finished, and significantly better on validation than always predicting the most frequent class (exact "
    "binomial test, p < 0.001)."
)
_NEAREST_MEAN = "what the nearest class mean reaches, rounded down to a whole percent"
_STEPS = (
    "steps to target: Kaplan-Meier median (trials that reached it / trials that did not fail); a trial that did not "
    "reach it is censored at its budget of steps."
)


def introduction(comparison: Results) -> str:
    """Return the sentences above the tables: question, extent, target and its rule, baseline."""
    parts = [comparison.question.rstrip(), _extent(comparison.records), _target(comparison)]
    return printable(" ".join(part for part in parts if part))


def caveats(comparison: Results) -> tuple[str, ...]:
    """Return what limits the tables: missing and failed trials, notices, mixed machines, where rates come from."""
    records = comparison.records
    lines = (
        *_missing(comparison),
        *_failures(records),
        *_precision(records),
        *_earlier_rule(comparison),
        *_said_before(comparison),
        *_notices(records),
        *_machines(records),
    )
    return tuple(map(printable, (*lines, *_chosen_rates(comparison), *_given_rates(comparison))))


def readings(comparison: Results) -> tuple[str, ...]:
    """Return how to read the tables: what headers and signs mean."""
    meanings = (_LEARNED, _STEPS, _INTERVALS, *_populations(comparison)) if comparison.records else ()
    return tuple(map(printable, meanings))


def _populations(comparison: Results) -> Iterable[str]:
    """Yield for each dataset of what population its numbers speak, and how far another test set would move them."""
    best = comparison.summary.groupby("dataset", sort=False)["test_accuracy"].max().dropna()
    sizes = {record.trial.dataset: record.data.test_size for record in comparison.records}
    for dataset, accuracy in best.items():
        size = sizes[dataset]
        error = 100 * math.sqrt(accuracy * (1 - accuracy) / size)
        yield (
            f"Intervals and verdicts on {dataset} speak of other seeds on these {size} test images, not of other "
            f"images: at an accuracy of {accuracy:.3f} the standard error of this test set is {error:.1f} points."
        )


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
    return f"{counts}."


def _precision(records: tuple[Record, ...]) -> Iterable[str]:
    low = sorted({record.trial.precision for record in records} - {"float32"})
    if low:
        yield f"Computed in {listed(low)}, which can change the conclusion."


def target_rules(comparison: Results) -> str:
    """Return the targets with the rule that set each, the rule alone where nothing is stored yet."""
    if not comparison.records:
        return "as given" if comparison.target is not None else _NEAREST_MEAN
    accuracies = defaultdict[str, dict[str, None]](dict)
    for target in comparison.targets.values():
        accuracies[_rule(target)][f"{target.accuracy:.4g}"] = None
    return "; ".join(f"{' or '.join(each)} ({rule})" for rule, each in accuracies.items())


def _rule(target: Target) -> str:
    """Return how a target was chosen."""
    if target.rule == "given":
        return "as given"
    if target.rule == "nearest mean":
        return _NEAREST_MEAN
    halfway = f"halfway between {'the share of the most frequent class' if target.majority else 'chance'} and 1"
    if target.rule == "guessing":
        return f"{halfway}, as the nearest class mean is hardly better than guessing"
    return f"{halfway}, as this folder does not say what the nearest class mean reaches"


def _target(comparison: Results) -> str:
    absent = "" if comparison.baseline in comparison.schemes else " (not among these schemes)"
    at_least = "validation accuracy ≥ " if comparison.records else ""
    return f"Target: {at_least}{target_rules(comparison)}. Baseline: {comparison.baseline}{absent}."


def _earlier_rule(comparison: Results) -> Iterable[str]:
    unknown = {target.accuracy: None for target in comparison.targets.values() if target.rule == "unknown"}
    if unknown:
        yield (
            f"The target {' or '.join(f'{accuracy:.4g}' for accuracy in unknown)} is that of earlier versions, halfway "
            "between chance and 1: repeat the command for that of the nearest class mean."
        )


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
        where = f"{rates.place}: " if len(comparison.tuned_rates) > 1 else ""
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
