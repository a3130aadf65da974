"""How often the whole verdict is wrong, choice of the test included; `benchmarks/test_honesty.py` is the long form."""

from math import sqrt

import numpy as np
import pytest

from initbench.analysis.statistics import paired
from tests.whole_verdicts import WORLDS, errors


@pytest.mark.simulation
@pytest.mark.parametrize("name", ["alike, share 0.7, spikes in a tenth", "shares 0.5 and 0.9, equal means"])
def test_the_whole_verdict_is_rarely_wrong(name, monkeypatch):
    monkeypatch.setattr(paired, "bootstrap_t", lambda *_: None)  # no verdict reads it, and it takes most of the time
    wrong, decided = errors(WORLDS[name], 8, 1, 300, np.random.default_rng(8))
    assert decided
    assert wrong / 300 <= 0.05 + 3 * sqrt(0.05 * 0.95 / 300)
