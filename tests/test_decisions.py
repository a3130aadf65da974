"""How often the whole verdict is wrong, choice of the test included; `benchmarks/test_honesty.py` is the long form."""

import itertools
from math import sqrt

import numpy as np
import pytest

from initbench.analysis.comparing import Sides, compare_accuracies
from initbench.analysis.verdicts import judge_accuracy
from tests.long_form import one_in
from tests.whole_verdicts import WORLDS, errors


@pytest.mark.parametrize("seed", one_in(3, range(3)))
def test_of_all_swaps_of_the_sides_one_in_twenty_is_called_a_difference_at_most(seed):
    rng = np.random.default_rng(seed)
    law, shared = WORLDS["alike, share 0.7, spikes in a tenth"].scheme, rng.normal(size=8)
    (learned, values), (others, theirs) = law(rng, shared), law(rng, shared)
    said = 0
    for swap in itertools.product([False, True], repeat=8):
        accuracies = np.where(swap, [theirs, values], [values, theirs])
        turned = Sides(*accuracies, *np.where(swap, [others, learned], [learned, others]))
        said += judge_accuracy(compare_accuracies([turned], 0.01))[0].ahead != 0
    assert said <= 2**8 / 20


@pytest.mark.simulation
@pytest.mark.parametrize("name", ["alike, share 0.7, spikes in a tenth", "shares 0.5 and 0.9, equal means"])
def test_the_whole_verdict_is_rarely_wrong(name):
    wrong, decided = errors(WORLDS[name], 8, 1, 300, np.random.default_rng(8))
    assert decided
    assert wrong / 300 <= 0.05 + 3 * sqrt(0.05 * 0.95 / 300)
