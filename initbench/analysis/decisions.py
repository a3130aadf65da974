"""What the tests of a comparison decide: one rule for verdicts and claims, in accuracy, steps and other metrics."""

from dataclasses import dataclass
from typing import Literal

from initbench.analysis.statistics.families import Adjusted, least_seeds
from initbench.analysis.statistics.paired import Lead, Paired, Shares, seeds_needed

Outcome = Literal[
    "nothing",  # no pair of one seed
    "shares",  # who succeeds differs
    "values",  # the values differ
    "none succeed",  # no trial of either side succeeds: values compare nothing
    "too few succeed",  # in fewer pairs than a test needs does any side succeed
    "too few seeds",  # no test can reach .05 after Holm, whatever the values
    "too few images",  # validation cannot show that a trial learns
    "seldom",  # the side ahead succeeds in fewer than half of its trials
    "survivors",  # the side ahead lost more trials, so its lead may be that of those left
    "opposed",  # the mean and the majority of pairs point in different directions
    "no difference",  # none was detected
]


@dataclass(frozen=True)
class Decision:
    """The outcome and, where it is decided, the side `ahead`: 1 for the scheme, -1 for the baseline, else 0.

    Who is ahead succeeds more often or has the higher values.
    """

    outcome: Outcome
    ahead: int = 0


def decide(
    tests: Adjusted, shares: Shares | None, pairs: Lead, seeds: int, missing: tuple[int, int] = (0, 0)
) -> Decision:
    """Return what the tests decide of `seeds` pairs, in this order.

    Who succeeds is told before values are compared, and values only where enough pairs have a side that succeeds
    (`shares` None: success does not matter to them). `missing` counts the values that the scheme and the baseline lack.
    Both tests were adjusted for the choice between them; the other conditions can only prevent a rejection.
    """
    # Where others lost seeds, a later step of Holm's can reject with fewer pairs than the first one needs.
    least = least_seeds(1, tests.values_level) if tests.values_differ else least_seeds(tests.family)
    if not seeds:
        return Decision("nothing")
    if tests.shares_differ and shares is not None:
        return Decision("shares", 1 if shares.gained > shares.lost else -1)
    if seeds < least:
        return Decision("too few seeds")
    if shares is not None and shares.either < least:
        return Decision("too few succeed" if shares.either else "none succeed")
    if tests.values_differ:
        return _by_values(pairs, missing)
    discordant = 0 if shares is None or tests.shares_p is None else shares.gained + shares.lost
    return Decision("too few seeds" if max(pairs.n, discordant) < least else "no difference")


def seeds_to_detect(pairs: Paired, tests: Adjusted) -> int | None:
    """Return the pairs that detect the smallest difference of interest at the level which the family left this test.

    None where there is no spread to plan with, or only who succeeds could be tested.
    """
    if tests.values_p is None or not tests.values_level:
        return None
    needed = seeds_needed(pairs.deviation, pairs.smallest_interesting, tests.values_level)
    return None if needed is None else max(needed, least_seeds(1, tests.values_level))


def pairs_beside_mean(pairs: Paired) -> int:
    """Return in how many pairs the scheme is above, or minus the number where it is below, if the mean does not say so.

    Most pairs point against the mean, a mean that differs has no majority of pairs, or pairs agree by more than chance
    beside a mean that does not differ. Else 0.
    """
    mean, chance, found = pairs.difference.value, pairs.improvement.interval, pairs.difference.interval
    if mean is None or chance is None:
        return 0
    differs = found is not None and found.high is not None and not found.low <= 0 <= found.high
    agree = chance.high is not None and not chance.low <= 0.5 <= chance.high
    against = mean * (pairs.wins - pairs.losses) < 0 or (differs and pairs.wins == pairs.losses)
    if not against and (differs or not agree):
        return 0
    above = pairs.wins > pairs.losses or (pairs.wins == pairs.losses and mean > 0)
    return pairs.wins if above else -pairs.losses


def _by_values(pairs: Lead, missing: tuple[int, int]) -> Decision:
    ahead = 1 if (pairs.mean or 0.0) > 0 else -1
    own, other = missing[::ahead]
    if own > other:
        return Decision("survivors")
    if ((pairs.improvement or 0.0) - 0.5) * ahead < 0:
        return Decision("opposed")
    return Decision("values", ahead)
