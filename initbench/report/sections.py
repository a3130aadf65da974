"""What stands beside the tables: claims, where the spread comes from, generalization gap and early stability."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from initbench.analysis.claims import CLAIMS_RULE, ClaimVerdict
from initbench.analysis.crossing import decompose
from initbench.analysis.panels import Panel
from initbench.analysis.prediction import step_zero_prediction
from initbench.analysis.results import Results
from initbench.analysis.stability import INSTABILITY_RULE, LEVEL_RULE, SPIKE_RULE, Stability
from initbench.analysis.statistics.intervals import Estimate
from initbench.core.text import printable
from initbench.report.crossing import describe_crossing
from initbench.report.prediction import describe_prediction
from initbench.report.sentences import describe_spikes
from initbench.report.sheets import NOTHING, Sheet
from initbench.report.tables import mean_cell


@dataclass(frozen=True)
class Section:
    """A title with lines of text and tables; `brief` sections are shown on the terminal, the others in pages only."""

    title: str
    lines: tuple[str, ...]
    sheets: tuple[Sheet, ...] = ()
    brief: bool = True


def sections(comparison: Results) -> tuple[Section, ...]:
    """Return the sections that have something to say."""
    every = (
        _looks(comparison),
        _claims(comparison),
        _prediction(comparison),
        _spread(comparison),
        _stability(comparison),
    )
    return tuple(section for section in every if section.lines or section.sheets)


def _looks(comparison: Results) -> Section:
    """Say which seeds were added after results of others were there to be seen."""
    seen = {seed for look in comparison.looks for seed in look}
    added = sorted({record.trial.seed for record in comparison.records} - seen)
    if not comparison.looks or not added:
        return Section("Seeds added after a look", ())
    line = (
        f"Seeds {seeds_said(added)} were added when the results of seeds {seeds_said(sorted(seen))} could be seen "
        f"({len(comparison.looks)} look(s)): adding seeds until a difference shows makes p-values too small."
    )
    return Section("Seeds added after a look", (line,))


def seeds_said(seeds: list[int]) -> str:
    """Return seeds in a row, `0 to 9` where none is left out."""
    whole = len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))


def _claims(comparison: Results) -> Section:
    if not comparison.claims or comparison.trials.empty:
        return Section("Claims", ())
    lines = [_claim_line(of) for of in comparison.claims_judged]
    return Section("Claims", (*lines, CLAIMS_RULE))


def _claim_line(of: ClaimVerdict) -> str:
    source = f" [{of.claim.source}]" if of.claim.source else ""
    return printable(f"“{of.claim.text}”{source} {of.text}")


def _prediction(comparison: Results) -> Section:
    """Return how well the verdicts at step 0 predicted the results, panel by panel."""
    predictions = [(panel, step_zero_prediction(comparison, panel)) for panel in comparison.panels]
    lines = [describe_prediction(panel, found) for panel, found in predictions if found is not None]
    return Section("Does step 0 predict training?", tuple(map(printable, lines)))


def _spread(comparison: Results) -> Section:
    if not comparison.crossed:
        return Section("Where the spread comes from", ())
    parts = decompose((*comparison.records, *comparison.crossed))
    return Section("Where the spread comes from", tuple(map(printable, describe_crossing(parts))))


def _stability(comparison: Results) -> Section:
    sheets = tuple(_stability_sheet(panel, comparison.stability) for panel in comparison.panels)
    spiked = printable(describe_spikes(comparison.records))
    lines = (*([spiked, SPIKE_RULE] if spiked else []), INSTABILITY_RULE, LEVEL_RULE)
    return Section("Generalization and stability", lines if sheets else (), sheets, False)


def _stability_sheet(panel: Panel, rows: Iterable[Stability]) -> Sheet:
    here = [row for row in rows if (row.dataset, row.model, row.optimizer) == panel.place]
    here = [row for row in here if row.lr == panel.lr_of(row.scheme)]
    headers = (
        "scheme",
        "gap at the end (nats)",
        "gap at equal training loss (nats)",
        "early instability of the loss",
        "of the gradient norm",
        "diverged early",
    )
    return Sheet(printable(str(panel)), headers, tuple(tuple(_stability_cells(row)) for row in here))


def _stability_cells(row: Stability) -> Iterator[str]:
    yield printable(row.scheme)
    for estimate in (row.gap_at_end, row.gap_at_level, row.loss_instability, row.gradient_instability):
        yield _estimate_cell(estimate, row.n)
    yield str(row.early_diverged)


def _estimate_cell(of: Estimate, n: int) -> str:
    if of.mean is None:
        return f"{NOTHING} (0/{n})"
    return mean_cell(of.mean, of.mean - (of.half or 0.0), of.n, n)
