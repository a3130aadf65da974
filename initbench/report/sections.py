"""The sections after the tables: claims, prediction from step 0, sources of variance, generalization and stability."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from initbench.analysis.claims import CLAIMS_RULE, ClaimVerdict
from initbench.analysis.crossing import Decomposition, decompose
from initbench.analysis.panels import Panel
from initbench.analysis.prediction import step_zero_prediction
from initbench.analysis.results import Results
from initbench.analysis.stability import INSTABILITY_RULE, LEVEL_RULE, SPIKE_RULE, Stability
from initbench.analysis.statistics.variance import Component
from initbench.core.text import printable
from initbench.core.words import counted, seed_range
from initbench.report.cells import Table, mean_cell
from initbench.report.prediction import describe_prediction
from initbench.report.sentences import describe_spikes


@dataclass(frozen=True)
class Section:
    """A title with lines of text and tables, and the `rules` they follow; `brief` sections are shown unasked."""

    title: str
    lines: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    rules: tuple[str, ...] = ()
    brief: bool = True


def sections(comparison: Results) -> tuple[Section, ...]:
    """Return the sections that have content."""
    every = (
        _looks(comparison),
        _claims(comparison),
        _prediction(comparison),
        _spread(comparison),
        _stability(comparison),
    )
    return tuple(section for section in every if section.lines or section.tables)


def _looks(comparison: Results) -> Section:
    """Report seeds that were added after the results of others were available."""
    seen = {seed for look in comparison.looks for seed in look}
    added = sorted({record.trial.seed for record in comparison.records} - seen)
    if not comparison.looks or not added:
        return Section("Seeds added after seeing results", ())
    line = (
        f"Seeds {seed_range(added)} were added after the results of seeds {seed_range(sorted(seen))} were available "
        f"({counted(len(comparison.looks), 'earlier run')}): adding seeds until a difference appears makes p values "
        "too small."
    )
    return Section("Seeds added after seeing results", (line,))


def _claims(comparison: Results) -> Section:
    if not comparison.claims or comparison.trials.empty:
        return Section("Claims", ())
    lines = [_claim_line(verdict) for verdict in comparison.claims_judged]
    return Section("Claims", tuple(lines), rules=(CLAIMS_RULE,))


def _claim_line(verdict: ClaimVerdict) -> str:
    source = f" [{verdict.claim.source}]" if verdict.claim.source else ""
    return printable(f"“{verdict.claim.text}”{source} {verdict.text}")


def _prediction(comparison: Results) -> Section:
    """Return how well the verdicts at step 0 predicted the results, panel by panel."""
    predictions = [(panel, step_zero_prediction(comparison, panel)) for panel in comparison.panels]
    lines = [describe_prediction(panel, found) for panel, found in predictions if found is not None]
    return Section("Does step 0 predict training?", tuple(map(printable, lines)), brief=False)


def _spread(comparison: Results) -> Section:
    if not comparison.crossed:
        return Section("Sources of variance", ())
    parts = decompose((*comparison.records, *comparison.crossed))
    return Section("Sources of variance", tuple(map(printable, describe_crossing(parts))))


def describe_crossing(decompositions: Iterable[Decomposition]) -> list[str]:
    """Return a sentence per scheme: its standard deviations in points (hundredths of accuracy), with intervals."""
    return [_described(decomposition) for decomposition in decompositions]


def _described(scheme: Decomposition) -> str:
    where = f"{scheme.scheme} ({scheme.place}, lr {scheme.lr:g})"
    if scheme.components is None:
        return f"{where}: {scheme.reason}."
    found = scheme.components
    parts = {"init seed": found.init, "data order": found.order, "residual": found.rest}
    sources = "; ".join(f"{name} {_points(part)}" for name, part in parts.items())
    return (
        f"{where}: standard deviation of test accuracy in points, with an interval of at least 95 % coverage if "
        f"effects are normal, and its share of the variance: {sources} "
        f"({scheme.n_init} × {scheme.n_order} seeds)."
    )


def _points(part: Component) -> str:
    ends = "no interval"
    if part.interval is not None and part.interval.high is not None:
        ends = f"{100 * np.sqrt(part.interval.low):.2f} to {100 * np.sqrt(part.interval.high):.2f}"
    share = "" if part.share is None else f", {part.share:.0%}"
    return f"{100 * part.deviation:.2f} ({ends}{share}{', negative estimate set to 0' * part.negative})"


def _stability(comparison: Results) -> Section:
    tables = tuple(_stability_table(panel, comparison.stability) for panel in comparison.panels)
    spiked = printable(describe_spikes(comparison.records))
    lines = (spiked,) if spiked else ()
    rules = (*[SPIKE_RULE] * bool(spiked), INSTABILITY_RULE, LEVEL_RULE)
    return Section("Generalization and stability", lines if tables else (), tables, rules, brief=False)


def _stability_table(panel: Panel, rows: Iterable[Stability]) -> Table:
    here = [row for row in rows if (row.dataset, row.model, row.optimizer, row.batch_size) == panel.place]
    here = [row for row in here if row.lr == panel.lr_of(row.scheme)]
    headers = (
        "scheme",
        "generalization gap at the end (nats)",
        "gap at equal training loss (nats)",
        "early instability of the loss",
        "early instability of the gradient norm",
        "diverged early",
    )
    return Table(printable(str(panel)), headers, tuple(tuple(_stability_cells(row)) for row in here))


def _stability_cells(row: Stability) -> Iterator[str]:
    yield printable(row.scheme)
    for estimate in (row.gap_at_end, row.gap_at_level, row.loss_instability, row.gradient_instability):
        yield mean_cell(estimate, row.n)
    yield str(row.early_diverged)
