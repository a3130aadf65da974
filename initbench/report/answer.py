"""The answer of a comparison, a sentence per panel: which schemes may be the best, with numbers and certainty.

The rule is `analysis.best`, the words follow from it: one best scheme, several that are not told apart, a baseline that
nothing beats, nothing told apart, nothing that learns, or data that cannot decide.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from initbench.analysis.best import Best
from initbench.analysis.judgements import Judgement
from initbench.analysis.panels import Panel
from initbench.analysis.results import Results
from initbench.analysis.statistics.intervals import CONFIDENCE
from initbench.core.text import printable
from initbench.core.words import counted, joined, quoted
from initbench.report.cells import percent

_CONFIDENCE = f"{CONFIDENCE:.0%} confidence".replace("%", " %")
_FEW = 3  # names in a sentence; of more, the number


@dataclass(frozen=True)
class _Facts:
    """What the sentence of a panel is made of: `rows` are those of its summary by scheme, `target` the share to reach.

    `small`: no score on the validation split would show that a trial learned.
    """

    rows: dict[str, dict[str, Any]]
    best: Best
    judged: tuple[Judgement, ...]
    baseline: str
    target: float
    small: bool

    @property
    def runs(self) -> int:
        """The number of trials."""
        return sum(row["n"] for row in self.rows.values())


def answers(results: Results) -> tuple[str, ...]:
    """Return the answer in sentences, the first for the whole: of claims, of all settings, of each panel."""
    if not results.records:
        return ("No trial is stored yet.",)
    by_panel = {panel: _answer(_facts(results, panel)) for panel in results.panels}
    told = [f"{_place(panel, results.panels)}{answer}" for panel, answer in by_panel.items()]
    return tuple(map(printable, (*_of_claims(results), *_of_settings(results), *told)))


def _facts(results: Results, panel: Panel) -> _Facts:
    rows = {row["scheme"]: row for row in panel.rows(results.summary).to_dict("records")}
    record = next(record for record in results.records if record.trial.dataset == panel.dataset)
    return _Facts(
        rows=rows,
        best=results.best[panel],
        judged=results.judgements[panel],
        baseline=results.baseline,
        target=results.target_of(record),
        small=panel.dataset in results.too_small,
    )


def _answer(facts: _Facts) -> str:
    """Return the sentence of a panel: that of the first rule which applies."""
    rules = (_failed, _alone, _apart, _none_learns, _too_few_seeds, _nothing_beats)
    return next((said for rule in rules if (said := rule(facts))), "") or _best(facts)


def _failed(facts: _Facts) -> str:
    failed = all(row["failed"] == row["n"] for row in facts.rows.values())
    return f"Nothing was measured: {counted(facts.runs, 'run')} failed." if failed else ""


def _alone(facts: _Facts) -> str:
    *others, only = facts.best.ranked
    return "" if others else f"{quoted(only)} {_did(facts, [only])}; there is no other scheme to compare it with."


def _apart(facts: _Facts) -> str:
    compared = any(judgement.accuracy.kind != "nothing to compare" for judgement in facts.judged)
    return "" if compared else f"There is {facts.judged[0].accuracy.text}."


def _none_learns(facts: _Facts) -> str:
    if facts.small or any(row["learned"] for row in facts.rows.values()):
        return ""
    runs = counted(facts.runs, "run")
    return f"No scheme learns: none of {runs} is better than always guessing the most frequent class."


def _too_few_seeds(facts: _Facts) -> str:
    """Say what was measured where no verdict could be reached, whatever the values."""
    if any(judgement.accuracy.kind != "too few seeds" for judgement in facts.judged):
        return ""
    least = max(judgement.accuracy.seeds_needed or 0 for judgement in facts.judged)
    seeds = counted(max(row["n"] for row in facts.rows.values()), "seed")
    schemes = facts.best.ranked
    return f"{seeds} cannot tell {len(schemes)} schemes apart (at least {least} are needed): {_measured(facts)}."


def _best(facts: _Facts) -> str:
    candidates, schemes = facts.best.candidates, facts.best.ranked
    rest = f"; {_of_baseline(facts)}" if facts.baseline in facts.rows else ""
    if len(candidates) == 1:
        told = f"{quoted(candidates[0])} is the best of {len(schemes)} schemes ({_CONFIDENCE})"
        return f"{told}: it {_did(facts, candidates)}{rest}."
    few = len(candidates) <= _FEW
    every = joined(map(quoted, candidates)) if few else f"{len(candidates)} of {len(schemes)} schemes"
    return f"{every} are best, not told apart ({_CONFIDENCE}): they {_did(facts, candidates)}{rest}."


def _nothing_beats(facts: _Facts) -> str:
    """Say that the baseline may be the best, alone or among others."""
    candidates, schemes, baseline = facts.best.candidates, facts.best.ranked, facts.baseline
    if baseline not in candidates:
        return ""
    if len(candidates) == len(schemes):
        told = f"The {len(schemes)} schemes are not told apart in test accuracy: they {_did(facts, schemes)}"
        return f"{told}{_faster(facts)}."
    others = [scheme for scheme in candidates if scheme != baseline]
    also = f"; not told apart from it: {_names(others)}" if others else ""
    told = f"No scheme is shown to beat the baseline {quoted(baseline)}: it {_did(facts, [baseline])}"
    return f"{told}{also}{_faster(facts)}."


def _faster(facts: _Facts) -> str:
    """Return which schemes reach the target earlier than the baseline, where accuracy does not tell them apart."""
    kinds = {"faster", "reaches", "reaches more often"}
    faster = [judgement.scheme for judgement in facts.judged if judgement.speed.kind in kinds]
    if not faster:
        return ""
    verb = "reaches" if len(faster) == 1 else "reach"
    return (
        f"; {_names(faster)} {verb} {percent(facts.target)} validation accuracy earlier than {quoted(facts.baseline)}"
    )


def _of_baseline(facts: _Facts) -> str:
    parts = [*_learned(facts, [facts.baseline]), *_ended(facts, [facts.baseline])]
    guesses = not facts.small and not facts.rows[facts.baseline]["learned"]
    return f"{quoted(facts.baseline)} {' and '.join(parts[:1] if guesses else parts)}"


def _did(facts: _Facts, schemes: Sequence[str]) -> str:
    """Return `learns in every run (10 of 10) and ends at 95.3 % test accuracy (25 steps to 55 % on validation)`."""
    one = len(schemes) == 1
    parts = [*_learned(facts, schemes), *_ended(facts, schemes)]
    return " and ".join(parts if one else [part.replace("learns", "learn").replace("ends", "end") for part in parts])


def _learned(facts: _Facts, schemes: Sequence[str]) -> Iterator[str]:
    counts, runs = zip(*((facts.rows[scheme]["learned"], facts.rows[scheme]["n"]) for scheme in schemes), strict=True)
    if facts.small:
        return
    if not any(counts):
        yield f"never learns (0 of {_span(runs)} runs)"
    elif counts == runs:
        yield (
            f"learns in every run ({_span(counts)} of {_span(runs)})" if len(set(runs)) == 1 else "learns in every run"
        )
    else:
        yield f"learns in {_span(counts)} of {_span(runs)} runs"


def _ended(facts: _Facts, schemes: Sequence[str]) -> Iterator[str]:
    rows = [facts.rows[scheme] for scheme in schemes]
    accuracies = [row["test_accuracy"] for row in rows if pd.notna(row["test_accuracy"])]
    steps = [int(row["steps_to_target"]) for row in rows if pd.notna(row["steps_to_target"])]
    if not accuracies:
        return
    survivors = " where it finishes" if any(row["test_n"] < row["n"] for row in rows) else ""
    low, high = (f"{100 * end:.1f} %" for end in (min(accuracies), max(accuracies)))
    accuracy = high if low == high else f"{low.removesuffix(' %')} to {high}"
    reached = len(steps) == len(rows)
    speed = f" ({_span(steps)} steps to {percent(facts.target)} on validation)" if reached else ""
    yield f"ends at {accuracy} test accuracy{survivors}{speed}"


def _measured(facts: _Facts) -> str:
    """Return the ends of what was measured, where nothing is decided."""
    finished = [scheme for scheme in facts.best.ranked if pd.notna(facts.rows[scheme]["test_accuracy"])]
    by_accuracy = sorted(finished, key=lambda scheme: float(facts.rows[scheme]["test_accuracy"]))
    if len(by_accuracy) < 2:
        return "fewer than two have a test accuracy"
    ends = (by_accuracy[0], by_accuracy[-1])
    low, high = (f"{100 * facts.rows[end]['test_accuracy']:.1f} % ({quoted(end)})" for end in ends)
    return f"measured test accuracies run from {low} to {high}"


def _of_claims(results: Results) -> Iterator[str]:
    if not results.claims:
        return
    counts = Counter(verdict.status for verdict in results.claims_judged)
    parts = [f"{counts[status]} {status}" for status in ("supported", "refuted", "undecided") if counts[status]]
    yield f"Of {counted(sum(counts.values()), 'claim')}: {joined(parts)}."


def _of_settings(results: Results) -> Iterator[str]:
    """Yield in how many settings each scheme may be the best."""
    panels = [panel for panel in results.panels if panel.rule != "common lr"]
    if len(panels) < 2:
        return
    counts = Counter(scheme for panel in panels for scheme in results.best[panel].candidates)
    said = [f"{quoted(scheme)} in {count}" for scheme, count in counts.most_common(_FEW)]
    yield f"May be the best, of {len(panels)} settings: {joined(said)}."


def _place(panel: Panel, panels: Sequence[Panel]) -> str:
    """Return what tells a panel from the others, with a colon; nothing for the only one."""
    every = [(*each.place, each.rate) for each in panels]
    varying = [len(set(parts)) > 1 for parts in zip(*every, strict=True)]
    said = [part for part, varies in zip((*panel.place, panel.rate), varying, strict=True) if varies]
    if said and said[0] == panel.rate and panel.rule != "given lr":  # a sentence of its own, and no name
        said[0] = said[0].capitalize()
    return f"{', '.join(said)}: " if said else ""


def _names(schemes: Sequence[str]) -> str:
    if len(schemes) > _FEW:
        return f"{', '.join(map(quoted, schemes[:_FEW]))} and {len(schemes) - _FEW} more"
    return joined(map(quoted, schemes))


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"
