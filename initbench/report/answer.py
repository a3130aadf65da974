"""The answer of a comparison, a sentence per panel: which schemes may be the best, with numbers and certainty.

The rule is `analysis.best`, the words follow from it: one best scheme, several that are not told apart, a baseline that
nothing beats, nothing told apart, nothing that learns, or seeds or images that cannot decide.
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
from initbench.analysis.verdicts import confidence, p_value, points
from initbench.core.text import printable
from initbench.core.words import counted, joined, quoted
from initbench.report.cells import percent

_CONFIDENCE = f"{CONFIDENCE:.0%} confidence".replace("%", " %")
_FEW = 3  # names in a sentence; of more, the number
_ROOM = 90  # characters for those names, so that a sentence is read at a glance


@dataclass(frozen=True)
class _Facts:
    """What the sentence of a panel is made of: `rows` are those of its summary by scheme, `target` the share to reach.

    `small`: no score on the `val_size` validation images would show that a trial learned; `guess` is the share of the
    most frequent class.
    """

    rows: dict[str, dict[str, Any]]
    best: Best
    judged: tuple[Judgement, ...]
    baseline: str
    target: float
    small: bool
    val_size: int
    guess: float

    @property
    def runs(self) -> int:
        """The number of trials."""
        return sum(row["n"] for row in self.rows.values())

    def total(self, column: str) -> int:
        """Return the sum of a column over the schemes."""
        return sum(row[column] for row in self.rows.values())


def answers(results: Results) -> tuple[str, ...]:
    """Return the answer in sentences, the first for the whole: of claims, of all settings, of each panel."""
    if not results.records:
        return ("No trial is stored yet.",)
    told = [_placed(_place(panel, results.panels), _answer(_facts(results, panel))) for panel in results.panels]
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
        val_size=record.data.val_size,
        guess=record.data.guess,
    )


def _answer(facts: _Facts) -> str:
    """Return the sentence of a panel: that of the first rule which applies."""
    rules = (_failed, _alone, _apart, _none_learns, _too_few_seeds, _too_few_images, _none_differs, _nothing_beats)
    return next((said for rule in rules if (said := rule(facts))), "") or _best(facts)


def _failed(facts: _Facts) -> str:
    failed = facts.total("failed") == facts.runs
    return f"Nothing was measured: {_all(facts.runs)} failed." if failed else ""


def _alone(facts: _Facts) -> str:
    *others, only = facts.best.ranked
    return "" if others else f"{quoted(only)} {_did(facts, [only])}; there is no other scheme to compare it with."


def _apart(facts: _Facts) -> str:
    compared = any(judgement.accuracy.kind != "nothing to compare" for judgement in facts.judged)
    return "" if compared else f"There is {facts.judged[0].accuracy.text}."


def _none_learns(facts: _Facts) -> str:
    if facts.small or facts.total("learned"):
        return ""
    lost = {"diverged": facts.total("diverged"), "failed": facts.total("failed")}
    if lost["diverged"] == facts.runs:
        return f"No scheme learns: {_all(facts.runs)} diverged."
    ended = "".join(f"; {count} {how}" for how, count in lost.items() if count)
    beat = f"0 of {facts.runs} runs beat always answering the most frequent class ({percent(facts.guess)})"
    return f"No scheme learns: {beat}{ended}."


def _too_few_seeds(facts: _Facts) -> str:
    """Say what was measured where no verdict could be reached, whatever the values."""
    if any(judgement.accuracy.kind != "too few seeds" for judgement in facts.judged):
        return ""
    least = max(judgement.accuracy.seeds_needed or 0 for judgement in facts.judged)
    seeds = counted(max(row["n"] for row in facts.rows.values()), "seed")
    schemes = facts.best.ranked
    return f"{seeds} cannot tell {len(schemes)} schemes apart (at least {least} are needed): {_measured(facts)}."


def _too_few_images(facts: _Facts) -> str:
    """Say what was measured where validation cannot show who learns, so that accuracies are not compared."""
    if not facts.small or any(judgement.accuracy.ahead for judgement in facts.judged):
        return ""
    images = counted(facts.val_size, "validation image")
    return f"{images} cannot show which of {len(facts.best.ranked)} schemes learn: {_measured(facts)}."


def _none_differs(facts: _Facts) -> str:
    """Say how large a difference may still hide where no scheme is told from any other."""
    schemes = facts.best.ranked
    if len(facts.best.candidates) < len(schemes):
        return ""
    undecided = [judgement.scheme for judgement in facts.judged if judgement.accuracy.kind == "undecided"]
    hides = _hidden(facts)
    rest = f"; undecided: {_names(undecided)}" if undecided else f"; {hides}" if hides else ""
    did = f"they {_did(facts, schemes)}{rest}{_faster(facts)}"
    return f"The {len(schemes)} schemes are not told apart in test accuracy: {did}."


def _hidden(facts: _Facts) -> str:
    """Return how far from the baseline a scheme may be, where every scheme has an interval."""
    ranges = [judgement.accuracy_comparison.pairs for judgement in facts.judged if not judgement.absent]
    ends = [
        (found.low, found.high) for pairs in ranges if (found := pairs.difference.interval) and found.high is not None
    ]
    if not ends or len(ends) < len(ranges):
        return ""
    farthest = max(abs(end) for both in ends for end in both)
    return f"a difference of up to {points(farthest)} from {quoted(facts.baseline)} may hide ({_CONFIDENCE})"


def _nothing_beats(facts: _Facts) -> str:
    """Say that the baseline is the best, or may be among others."""
    candidates, baseline = facts.best.candidates, facts.baseline
    if baseline not in candidates:
        return ""
    others = [scheme for scheme in candidates if scheme != baseline]
    if not others:
        told = f"The baseline {quoted(baseline)} is the best of {len(facts.best.ranked)} schemes ({_CONFIDENCE})"
        return f"{told}: it {_did(facts, [baseline])}{_faster(facts)}."
    told = f"No scheme is shown to beat the baseline {quoted(baseline)}, which {_did(facts, [baseline])}"
    return f"{told}; not told apart from it: {_names(others)}{_faster(facts)}."


def _best(facts: _Facts) -> str:
    candidates, schemes = facts.best.candidates, facts.best.ranked
    if len(candidates) == 1:
        told = f"{quoted(candidates[0])} is the best of {len(schemes)} schemes ({_CONFIDENCE})"
        return f"{told}: it {_did(facts, candidates)}{_against_baseline(facts, candidates[0])}."
    names = joined(map(quoted, candidates))
    every = names if len(candidates) <= _FEW and len(names) <= _ROOM else f"{len(candidates)} of {len(schemes)} schemes"
    told = f"{every} are best, not told apart ({_CONFIDENCE})"
    return f"{told}: they {_did(facts, candidates)}{_of_baseline(facts)}."


def _against_baseline(facts: _Facts, best: str) -> str:
    """Return by how much the best scheme is better than the baseline or, where learning decides, who learns."""
    judgement = next((judgement for judgement in facts.judged if judgement.scheme == best), None)
    if judgement is None or judgement.accuracy.kind != "better":
        return _of_baseline(facts)
    pairs = judgement.accuracy_comparison.pairs
    found, mean = pairs.difference.interval, pairs.difference.value or 0.0
    assert found is not None  # the test rejects, so there is one
    assert found.high is not None
    ends = f"{confidence(pairs.alpha)} interval {points(found.low, unit='')} to {points(found.high, unit='')}"
    return f", {points(mean)} above the baseline {quoted(facts.baseline)} ({ends})"


def _of_baseline(facts: _Facts) -> str:
    if facts.baseline not in facts.rows:
        return ""
    parts = [*_learned(facts, [facts.baseline]), *_ended(facts, [facts.baseline], steps=False)]
    guesses = not facts.small and not facts.rows[facts.baseline]["learned"]
    return f"; the baseline {quoted(facts.baseline)} {' and '.join(parts[:1] if guesses else parts)}"


def _faster(facts: _Facts) -> str:
    """Return which schemes reach the target earlier than the baseline, where accuracy does not tell them apart."""
    kinds = {"faster", "reaches", "reaches more often"}
    faster = [judgement.scheme for judgement in facts.judged if judgement.speed.kind in kinds]
    if not faster:
        return ""
    verb = "reaches" if len(faster) == 1 else "reach"
    return f"; {_names(faster)} {verb} {percent(facts.target)} on validation earlier than {quoted(facts.baseline)}"


def _did(facts: _Facts, schemes: Sequence[str]) -> str:
    """Return `learns in all 10 runs and ends at 95.3 % test accuracy (25 steps to 55 % on validation)`."""
    one = len(schemes) == 1
    parts = [*_learned(facts, schemes), *_ended(facts, schemes, steps=one)]
    return " and ".join(parts if one else [part.replace("learns", "learn").replace("ends", "end") for part in parts])


def _learned(facts: _Facts, schemes: Sequence[str]) -> Iterator[str]:
    counts, runs = zip(*((facts.rows[scheme]["learned"], facts.rows[scheme]["n"]) for scheme in schemes), strict=True)
    if facts.small:
        return
    if counts == runs:
        yield f"learns in {_all(runs[0])}" if len(set(runs)) == 1 else "learns in every run"
    elif not any(counts):
        yield f"never learns (0 of {_span(runs)})"
    else:
        yield f"learns in {_span(counts)} of {_span(runs)} runs"


def _ended(facts: _Facts, schemes: Sequence[str], *, steps: bool) -> Iterator[str]:
    rows = [facts.rows[scheme] for scheme in schemes]
    accuracies = [row["test_accuracy"] for row in rows if pd.notna(row["test_accuracy"])]
    if not accuracies:
        return
    survivors = " where it finishes" if any(row["test_n"] < row["n"] for row in rows) else ""
    low, high = (f"{100 * end:.1f} %" for end in (min(accuracies), max(accuracies)))
    accuracy = high if low == high else f"{low.removesuffix(' %')} to {high}"
    reached = [row["steps_to_target"] for row in rows if steps and pd.notna(row["steps_to_target"])]
    speed = "".join(f" ({counted(int(median), 'step')} to {percent(facts.target)} on validation)" for median in reached)
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
    judged = results.claims_judged if results.claims else ()
    if len(judged) == 1:
        (only,) = judged
        p = f" ({p_value(only.p)})" if only.p is not None else ""
        yield f"The claim “{only.claim.text.rstrip('.')}” is {only.status}{p}."
    elif judged:
        counts = Counter[str](verdict.status for verdict in judged)
        statuses = [status for status in ("supported", "refuted", "undecided") if counts[status]]
        parts = [f"{counts[status]} {'is' if counts[status] == 1 else 'are'} {status}" for status in statuses]
        yield f"Of {len(judged)} claims, {joined(parts)}."


def _of_settings(results: Results) -> Iterator[str]:
    """Yield in how many settings each scheme may be the best."""
    panels = [panel for panel in results.panels if panel.rule != "common lr"]
    if len(panels) < 2:
        return
    counts = Counter(scheme for panel in panels for scheme in results.best[panel].candidates)
    said = [f"{quoted(scheme)} in {count}" for scheme, count in counts.most_common(_FEW)]
    more = f" and {len(counts) - _FEW} more" if len(counts) > _FEW else ""
    yield f"Of {len(panels)} settings, may be the best ({_CONFIDENCE} in each): {', '.join(said)}{more}."


def _all(runs: int) -> str:
    """Return `all 10 runs`, `the only run`."""
    return "the only run" if runs == 1 else "both runs" if runs == 2 else f"all {runs} runs"


def _placed(place: str, answer: str) -> str:
    """Return an answer behind what tells its panel; a name keeps its first letter."""
    sentence = answer.startswith(("The ", "No ", "Nothing ", "There "))
    return place + (answer[0].lower() + answer[1:] if place and sentence else answer)


def _place(panel: Panel, panels: Sequence[Panel]) -> str:
    """Return what tells a panel from the others, with a colon; nothing for the only one."""
    every = [_parts(each) for each in panels]
    varying = [len(set(parts)) > 1 for parts in zip(*every, strict=True)]
    said = [part for part, varies in zip(_parts(panel), varying, strict=True) if varies]
    if said and said[0] == panel.rate and panel.rule != "given lr":  # a sentence of its own, and no name
        said[0] = said[0].capitalize()
    return f"{', '.join(said)}: " if said else ""


def _parts(panel: Panel) -> tuple[str, ...]:
    return panel.dataset, panel.model, panel.optimizer, f"batch {panel.batch_size}", panel.rate


def _names(schemes: Sequence[str]) -> str:
    if len(schemes) > _FEW:
        return f"{', '.join(map(quoted, schemes[:_FEW]))} and {len(schemes) - _FEW} more"
    return joined(map(quoted, schemes))


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low} to {high}"
