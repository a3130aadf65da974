"""Which schemes may be the best of a panel: a set that holds the best one with 95 % confidence.

A scheme leaves the set when another is shown to be better: against the baseline by the verdict that the tables show,
among the others by the same tests at .05 over their number. So the words never contradict a verdict. If the baseline
is the best, it leaves with a probability of at most .05, the level of Holm's family. If another scheme is, a false
"worse than the baseline" has a probability of at most .025, being one-sided, and k - 2 rivals at .025 / (k - 2) each,
one-sided, another .025 (Bonferroni; comparisons with the best: Hsu, Multiple Comparisons, 1996).
This .05 is the set's own, beside that of the verdicts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from initbench.analysis.comparing import Sides
from initbench.analysis.decisions import decide
from initbench.analysis.judgements import Judgement
from initbench.analysis.pairing import accuracy_sides, by_scheme, shared_seeds
from initbench.analysis.statistics.families import adjust_alone
from initbench.analysis.statistics.paired import compare_shares, lead_of
from initbench.analysis.summary import in_order


@dataclass(frozen=True)
class Best:
    """The schemes of a panel, first those that may be the best, and those that were shown to be behind another.

    `beaten_by` names, for each scheme that left the set, one that beats it.
    """

    ranked: tuple[str, ...]
    beaten_by: Mapping[str, str]

    @property
    def candidates(self) -> tuple[str, ...]:
        """The schemes that may be the best."""
        return tuple(scheme for scheme in self.ranked if scheme not in self.beaten_by)


def best_of(trials: pd.DataFrame, schemes: Sequence[str], baseline: str, judged: Sequence[Judgement]) -> Best:
    """Return which schemes may be the best in test accuracy.

    Args:
        trials: those of a panel, marked `learned`.
        schemes: in the requested order, which breaks ties.
        baseline: the scheme that the others were judged against.
        judged: the verdicts of this panel.
    """
    ranked = _ranked(trials, in_order(trials["scheme"], schemes))
    others = [scheme for scheme in ranked if scheme != baseline]
    found = by_scheme(trials)
    beaten_by = dict(_by_verdict(judged))
    for scheme in others:
        rivals = [rival for rival in others if rival != scheme]
        if scheme not in beaten_by and (winner := _winner(scheme, rivals, found)):
            beaten_by[scheme] = winner
    # A mean over the runs that learn may lead where the tests decide otherwise: the set stands first.
    return Best(tuple(sorted(ranked, key=lambda scheme: scheme in beaten_by)), beaten_by)


def _ranked(trials: pd.DataFrame, schemes: Sequence[str]) -> tuple[str, ...]:
    """Return the schemes by the share of their trials that learned, then by mean test accuracy."""
    ran = trials[trials["outcome"] != "failed"]
    means = ran.groupby("scheme")[["learned", "test_accuracy"]].mean().reindex(list(schemes)).fillna(-1.0)
    scores = {scheme: (means.loc[scheme, "learned"], means.loc[scheme, "test_accuracy"]) for scheme in schemes}
    return tuple(sorted(schemes, key=lambda scheme: scores[scheme], reverse=True))


def _by_verdict(judged: Sequence[Judgement]) -> Iterator[tuple[str, str]]:
    for judgement in judged:
        if judgement.accuracy.ahead < 0:
            yield judgement.scheme, judgement.baseline
        elif judgement.accuracy.ahead > 0:
            yield judgement.baseline, judgement.scheme


def _winner(scheme: str, rivals: Sequence[str], found: Mapping[str, pd.DataFrame]) -> str | None:
    """Return a rival that is shown to be better than a scheme, None where there is none."""
    sides = ((rival, accuracy_sides(*shared_seeds(found[rival], found[scheme]))) for rival in rivals)
    return next((rival for rival, pairs in sides if _beats(pairs, len(rivals))), None)


def _beats(sides: Sides, rivals: int) -> bool:
    """Return whether the first side is shown to be better, one of as many `rivals` of the second."""
    lead = lead_of(sides.scheme[sides.both], sides.baseline[sides.both])
    if sides.succeeded.sum() <= sides.baseline_succeeded.sum() and (lead.mean or 0.0) <= 0:
        return False  # behind in both: no test, which takes longest, can make it better
    learned = compare_shares(sides.succeeded, sides.baseline_succeeded)
    tests = adjust_alone(sides.test(), rivals)
    return decide(tests, learned, lead, learned.scheme.n, sides.missing).ahead > 0
