"""Equal work, or no ratio: what must agree before two contenders' seconds are compared."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from contenders.common import Trained

EARLY = 50  # steps in which float32 noise cannot have grown: there, losses must be the same number
LOSS_TOLERANCE = 1e-3  # relative; another learning rate or order of batches moves a loss by far more
ACCURACY_BAND = 0.02  # of the trained model, on all of validation and all of test


def disagreements(ours: Sequence[Trained], other: Sequence[Trained]) -> list[str]:
    """Return a sentence for each way in which `other` did not do the work of the same trials of ours."""
    by_id = {trained.trial: trained for trained in ours}
    unknown = [trained.trial for trained in other if trained.trial not in by_id]
    if unknown or not other:
        return [f"trials that initbench did not train: {', '.join(unknown) or 'none was trained at all'}"]
    return [f"trial {trained.trial}: {fault}" for trained in other for fault in _faults(by_id[trained.trial], trained)]


def _faults(ours: Trained, other: Trained) -> Iterator[str]:
    for what in ("steps", "samples", "evaluated"):
        mine, theirs = getattr(ours, what), getattr(other, what)
        if mine != theirs:
            yield f"{what}: initbench {mine}, the other {theirs}"
    if [row[0] for row in ours.curve] != [row[0] for row in other.curve]:
        yield "the curves have points at different steps"
    elif (worst := early_difference(ours, other)) > LOSS_TOLERANCE:
        yield f"losses differ by {worst:.1e} of their value within {EARLY} steps ({LOSS_TOLERANCE:g} is allowed)"
    if len(ours.final) != 3 or len(other.final) != 3:
        yield "a trial did not finish"
    elif (worst := final_difference(ours, other)) > ACCURACY_BAND:
        yield f"final accuracies differ by {worst:.3f} ({ACCURACY_BAND:g} is allowed)"


def early_difference(ours: Trained, other: Trained) -> float:
    """Return the largest relative difference of a training or validation loss in the early steps."""
    pairs = [
        (mine, theirs)
        for row, their_row in zip(ours.curve, other.curve, strict=True)
        if row[0] <= EARLY
        for mine, theirs in zip(row[1:3], their_row[1:3], strict=True)
    ]
    return _worst(abs(mine - theirs) / max(abs(mine), abs(theirs), 1e-9) for mine, theirs in pairs)


def final_difference(ours: Trained, other: Trained) -> float:
    """Return the larger difference of the trained models' accuracies on validation and on test."""
    return _worst(abs(mine[1] - theirs[1]) for mine, theirs in zip(ours.final[1:], other.final[1:], strict=True))


def _worst(differences: Iterable[float]) -> float:
    """Return the largest; what is no number is as large as can be, for NaN would pass every comparison."""
    return max(math.inf if math.isnan(difference) else difference for difference in differences)


def closeness(ours: Sequence[Trained], others: Mapping[str, Sequence[Trained]]) -> tuple[float, float]:
    """Return the largest early and the largest final difference over all trials, for the table to state."""
    by_id = {trained.trial: trained for trained in ours}
    pairs = [(by_id[trained.trial], trained) for other in others.values() for trained in other]
    return max(early_difference(*pair) for pair in pairs), max(final_difference(*pair) for pair in pairs)
