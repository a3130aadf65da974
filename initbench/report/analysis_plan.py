"""The analysis plan: what was fixed before any result was seen, as terms and sentences."""

from collections.abc import Iterable, Iterator

from initbench.analysis.results import Results
from initbench.analysis.statistics.intervals import ALPHA
from initbench.analysis.tuning import COMMON_RULE, OWN_RULE
from initbench.core.text import printable
from initbench.core.words import counted, listed, seed_range
from initbench.records.record import Record
from initbench.report.sentences import target_rules

_TESTS = (
    "each scheme is compared with the baseline in pairs, the two trials of one seed: exact two-sided sign-flip test of "
    "the mean difference in test accuracy, and of the mean difference in steps to the target, where a trial that did "
    "not reach it counts as the whole budget. Who learned (reached the target) is tested with them, and the choice "
    "between both tests is part of p."
)


def analysis_plan(comparison: Results) -> tuple[tuple[str, str], ...]:
    """Return what was planned, term by term, all of it plain text without control characters."""
    return tuple((term, printable(text)) for term, text in _plan(comparison) if text)


def _plan(comparison: Results) -> Iterator[tuple[str, str]]:
    records = comparison.records
    trials = [record.trial for record in records]
    yield "Question", comparison.question.strip()
    yield "Schemes", listed(comparison.schemes)
    yield "Baseline", comparison.baseline
    yield "Settings", _distinct(str(trial.place) for trial in trials)
    yield "Training", _distinct(f"{t.steps} steps, batches of {t.batch_size} images, {t.precision}" for t in trials)
    yield "Seeds", _seeds(records)
    yield "Learning rate", _rate(comparison)
    yield "Target", _target(comparison)
    yield "Measures", "test accuracy, evaluated once at the end of a trial; steps to the target, on validation."
    yield "Tests", _TESTS
    yield "Holm's family", _family(comparison)
    yield "Claims", _claims(comparison)


def _distinct(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _seeds(records: Iterable[Record]) -> str:
    seeds = sorted({record.trial.seed for record in records})
    return f"{seed_range(seeds)} for every scheme: same batches, same underlying random draws" if seeds else ""


def _rate(comparison: Results) -> str:
    if not comparison.tuned_rates:
        rates = sorted({record.trial.lr for record in comparison.records})
        return ", ".join(f"{rate:g}" for rate in rates) + (", each in its own table" if len(rates) > 1 else "")
    grid = ", ".join(f"{rate:g}" for rate in comparison.asked_rates or comparison.tuned_rates[0].grid)
    seeds = seed_range(sorted(comparison.tuned_rates[0].seeds))
    return (
        f"chosen from {grid} by validation loss on tuning seeds {seeds}, which are not scored. {OWN_RULE} {COMMON_RULE}"
    )


def _target(comparison: Results) -> str:
    at_least = "validation accuracy of at least " if comparison.records else ""
    whatever = ", whatever the results" if comparison.target is None else ""
    return f"{at_least}{target_rules(comparison)}{whatever}"


def _family(comparison: Results) -> str:
    others = len(set(comparison.schemes) - {comparison.baseline})
    if not others:
        return ""
    return (
        f"the {counted(others, 'scheme')} compared with the baseline in a table; accuracy and steps are "
        f"separate families. A difference counts if its adjusted p is at most {ALPHA:g}."
    )


def _claims(comparison: Results) -> str:
    count = len(comparison.claims)
    if not count:
        return ""
    stated = f"{count} stated in the recipe" if count > 1 else "one stated in the recipe"
    return f"{stated}; those that a table decides have its p, Holm's family is the others."
