"""Verdicts as lines of text: the baseline named once, then one line per scheme."""

from collections.abc import Iterator, Sequence

from initbench.analysis.judgements import Judgement
from initbench.analysis.verdicts import Kind, Verdict, measured_points, measured_steps, p_value
from initbench.core.text import printable
from initbench.core.words import quoted

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
# The verdicts of several schemes in one line, those ahead of the baseline first.
_GROUPS: tuple[tuple[Kind, str], ...] = (
    ("learns", "learn where it does not"),
    ("learns more often", "learn more often"),
    ("better", "better"),
    ("worse", "worse"),
    ("learns less often", "learn less often"),
    ("does not learn", "do not learn"),
    ("reaches", "reach the target where it does not"),
    ("reaches more often", "reach the target more often"),
    ("faster", "faster to the target"),
    ("slower", "slower to the target"),
    ("reaches less often", "reach the target less often"),
    ("does not reach", "do not reach the target"),
    ("too few reach", "too few reach the target to compare"),
    ("no difference", "no detectable difference"),
    ("undecided", "undecided"),
    ("too few learn", "too few learn to compare"),
    ("too few seeds", "too few seeds to tell"),
    ("too few images", "too few validation images to tell who learns"),
    ("nothing to compare", "nothing to compare"),
)
_FEW = 2
# What a verdict in accuracy leaves to say of steps.
_SAME = {"learns": "reaches", "learns more often": "reaches more often", "does not learn": "does not reach"}


def verdict_head(judged: Sequence[Judgement], baseline: str) -> str:
    """Return the line above the verdicts: the baseline and how it was compared, or why there is no verdict."""
    if not judged:
        return f"No verdict: {printable(baseline)} is the baseline, and there is no other scheme to compare with it."
    if judged[0].absent:
        return f"No verdict: the baseline {printable(baseline)} has no trial here."
    family = judged[0].accuracy_comparison.tests.family
    adjusted = f"; Holm-adjusted over {family} schemes" if family > 1 else ""
    return f"Against {printable(baseline)}, paired by seed{adjusted}:"


def verdict_lines(judged: Sequence[Judgement]) -> tuple[str, ...]:
    """Return one line per scheme: its verdict in accuracy, then in steps; none where the baseline is absent."""
    return tuple(printable(_line(judgement)) for judgement in judged if not judgement.absent)


def grouped_lines(judged: Sequence[Judgement]) -> tuple[str, ...]:
    """Return one line per kind of verdict, with its schemes: of accuracy, then of steps where they add something.

    Few schemes have a line each.
    """
    compared = [judgement for judgement in judged if not judgement.absent]
    if len(compared) <= _FEW:
        return verdict_lines(judged)
    steps = [each for each in compared if _SAME.get(each.accuracy.kind, each.accuracy.kind) != each.speed.kind]
    of_accuracy = _grouped([(each.scheme, each.accuracy) for each in compared])
    of_steps = _grouped([(each.scheme, each.speed) for each in steps], ambiguous="in steps, ")
    return tuple(map(printable, (*of_accuracy, *of_steps)))


def _grouped(verdicts: Sequence[tuple[str, Verdict]], ambiguous: str = "") -> Iterator[str]:
    for kind, words in _GROUPS:
        here = [(scheme, verdict) for scheme, verdict in verdicts if verdict.kind == kind]
        if here:
            found = {p_value(verdict.p): verdict.p for _, verdict in here if verdict.p is not None}
            largest = max(found, key=lambda text: found[text], default="")
            p = "" if kind == "no difference" or kind not in TESTED else largest
            p = p if len(found) == 1 else p.replace(" = ", " ≤ ")
            said = f"{ambiguous if kind in _AMBIGUOUS else ''}{words}{f' ({p})' if p else ''}"
            yield f"{said}: {', '.join(_named(*each) for each in here)}"


def _named(scheme: str, verdict: Verdict) -> str:
    """Return a scheme with what its kind of verdict leaves unsaid: why it is undecided, and what most pairs show."""
    why = verdict.text.partition(" (")[0].removeprefix("undecided: ") if verdict.kind == "undecided" else ""
    said = "; ".join(filter(None, (why, verdict.beside)))
    return quoted(scheme) + (f" ({said})" if said else "")


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
