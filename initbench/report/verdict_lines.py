"""Verdicts as lines of text: the baseline named once, then one line per scheme."""

from collections import defaultdict
from collections.abc import Sequence

from initbench.analysis.judgements import Judgement
from initbench.analysis.verdicts import Kind, Verdict, measured_points, measured_steps
from initbench.core.text import printable
from initbench.core.words import counted, listed, quoted
from initbench.report.cells import p_value

# The kinds whose word follows from a test: their p is said beside them.
TESTED = frozenset(
    {"better", "worse", "faster", "slower", "learns", "learns more often", "learns less often", "does not learn"}
    | {"reaches", "reaches more often", "reaches less often", "does not reach", "no difference"}
)
# Kinds that would read of accuracy and of steps alike.
_AMBIGUOUS = frozenset({"no difference", "too few seeds", "undecided", "nothing to compare"})
# Kinds that say who succeeds, and not by how much.
_BY_LEARNING = frozenset({"learns", "learns more often", "learns less often"})
_BY_REACHING = frozenset({"reaches more often", "reaches less often"})
_GROUPS: tuple[tuple[Kind, str], ...] = (
    ("learns", "learning where the baseline does not"),
    ("learns more often", "learning more often"),
    ("better", "better"),
    ("worse", "worse"),
    ("learns less often", "learning less often"),
    ("does not learn", "not learning"),
    ("no difference", "no detectable difference"),
    ("undecided", "undecided"),
    ("too few learn", "too few learn to compare"),
    ("too few seeds", "too few seeds"),
    ("too few images", "too few images to tell who learns"),
    ("nothing to compare", "nothing to compare"),
)


def verdict_head(judged: Sequence[Judgement], baseline: str) -> str:
    """Return the line above the verdicts: the baseline and how it was compared, or why there is no verdict."""
    if not judged:
        return f"No verdict: {printable(baseline)} is the baseline, and there is no other scheme to compare with it."
    if judged[0].absent:
        return f"No verdict: the baseline {printable(baseline)} has no trial here."
    family = judged[0].accuracy_comparison.tests.family
    adjusted = f"; p adjusted by Holm over {family} schemes" if family > 1 else ""
    return f"Against {printable(baseline)}, paired by seed{adjusted}:"


def verdict_lines(judged: Sequence[Judgement]) -> tuple[str, ...]:
    """Return one line per scheme: its verdict in accuracy, then in steps; none where the baseline is absent."""
    return tuple(printable(_line(judgement)) for judgement in judged if not judgement.absent)


def overview(judged: Sequence[Judgement], baseline: str) -> str:
    """Return one sentence on which schemes are better or worse than the baseline in accuracy, or neither."""
    if not judged or judged[0].absent:
        return verdict_head(judged, baseline)
    groups: dict[str, list[str]] = defaultdict(list)
    for judgement in judged:
        groups[judgement.accuracy.kind].append(judgement.scheme)
    said = [f"{word}: {listed(groups[kind])}" for kind, word in _GROUPS if groups[kind]]
    return printable(f"Against {baseline} in test accuracy ({_pairs(judged)}): {'; '.join(said)}.")


def _line(judgement: Judgement) -> str:
    accuracy, speed = _told(judgement.accuracy), _told(judgement.speed)
    if judgement.accuracy.kind in _BY_LEARNING:
        accuracy += f"; {measured_points(judgement.accuracy_comparison)}"
    if judgement.speed.kind in _BY_REACHING:
        speed += f"; {measured_steps(judgement.speed_comparison)}"
    if judgement.accuracy.kind == judgement.speed.kind == "nothing to compare":
        return f"{quoted(judgement.scheme)}: {accuracy}."
    second = f"In steps: {speed}" if judgement.speed.kind in _AMBIGUOUS else speed[0].upper() + speed[1:]
    return f"{quoted(judgement.scheme)}: {accuracy}. {second}."


def _told(verdict: Verdict) -> str:
    p = p_value(verdict.p) if verdict.kind in TESTED else ""
    return f"{verdict.text}, {p}" if p else verdict.text


def _pairs(judged: Sequence[Judgement]) -> str:
    """Return the number of paired seeds; each scheme's own line reports how many of its pairs are lost."""
    counts = {judgement.accuracy_comparison.learned.scheme.n for judgement in judged}
    low, high = min(counts), max(counts)
    return f"{'' if low == high else f'{low} to '}{counted(high, 'seed')}, paired"
