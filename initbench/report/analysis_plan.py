"""The analysis plan: what was settled before a result could be seen, as terms and sentences."""

from collections.abc import Iterable, Iterator

from initbench.analysis.results import Results
from initbench.analysis.statistics.paired import ALPHA
from initbench.analysis.tuning import COMMON_RULE, OWN_RULE
from initbench.core.text import printable
from initbench.core.words import counted, listed, seed_range
from initbench.records.record import Record

_TESTS = (
    "each scheme against the baseline, two trials of one seed being a pair: the exact two-sided sign-flip test of the "
    "mean difference in test accuracy, and of that in steps to the target with a miss counted as the whole budget. "
    "Where pairs differ more in who learned than finished, McNemar's exact test of that instead."
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
    yield "Settings", _distinct(f"{trial.dataset}, {trial.model}, {trial.optimizer}" for trial in trials)
    yield "Training", _distinct(f"{t.steps} steps of {t.batch_size} images in {t.precision}" for t in trials)
    yield "Seeds", _seeds(records)
    yield "Learning rate", _rate(comparison)
    yield "Target", _target(comparison)
    yield "Measures", "test accuracy, read once at the end of a trial; steps to the target, read on validation."
    yield "Tests", _TESTS
    yield "Holm's family", _family(comparison)
    yield "Claims", _claims(comparison)


def _distinct(texts: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(texts))


def _seeds(records: Iterable[Record]) -> str:
    seeds = sorted({record.trial.seed for record in records})
    return f"{seed_range(seeds)}, the same for every scheme: same batches, same underlying draws" if seeds else ""


def _rate(comparison: Results) -> str:
    if not comparison.tuned_rates:
        rates = sorted({record.trial.lr for record in comparison.records})
        return ", ".join(f"{rate:g}" for rate in rates) + (", each in a table of its own" if len(rates) > 1 else "")
    grid = ", ".join(f"{rate:g}" for rate in comparison.asked_rates or comparison.tuned_rates[0].grid)
    seeds = seed_range(sorted(comparison.tuned_rates[0].seeds))
    return f"chosen from {grid} on validation with tuning seeds {seeds}, which score nothing. {OWN_RULE} {COMMON_RULE}"


def _target(comparison: Results) -> str:
    targets = dict.fromkeys(f"{comparison.target_of(record):.4g}" for record in comparison.records)
    rule = "as asked" if comparison.target is not None else "halfway from chance to certainty, whatever the results"
    return f"validation accuracy of at least {' or '.join(targets)}: {rule}" if targets else rule


def _family(comparison: Results) -> str:
    others = len(set(comparison.schemes) - {comparison.baseline})
    if not others:
        return ""
    return (
        f"the {counted(others, 'scheme')} held against the baseline in a table; accuracy and steps are "
        f"each a family of their own. Adjusted p of at most {ALPHA:g} decides."
    )


def _claims(comparison: Results) -> str:
    count = len(comparison.claims)
    if not count:
        return ""
    said = f"{count} stated in the recipe" if count > 1 else "one stated in the recipe"
    return f"{said}; Holm's family is all of them."
