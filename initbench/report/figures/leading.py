"""Which figure stands beside the answer, before all others."""

from typing import Literal

from initbench.analysis.results import Results

_HOW_MUCH = frozenset({"better", "worse"})
_WHO_OR_WHEN = frozenset(
    {"learns", "learns more often", "learns less often", "does not learn", "faster", "slower"}
    | {"reaches", "reaches more often", "reaches less often", "does not reach"}
)


def leading_kind(comparison: Results) -> Literal["accuracy", "final_accuracy"]:
    """Return the kind of figure, of the first setting, that shows the effect.

    Validation accuracy in training shows who learns, how soon and how far. Where schemes differ from the baseline in
    final test accuracy, and none in who learns or how soon, it is that accuracy.
    """
    judged = [judgement for panel in comparison.panels[:1] for judgement in comparison.judgements[panel]]
    kinds = {kind for judgement in judged for kind in (judgement.accuracy.kind, judgement.speed.kind)}
    return "final_accuracy" if kinds & _HOW_MUCH and not kinds & _WHO_OR_WHEN else "accuracy"
