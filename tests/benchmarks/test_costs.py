"""Tables of costs show paired ratios, and no time where a trial did not finish."""

import math

import pytest
from costs import SCHEMES, Network, seconds_per_step, table

from initbench import datasets

pytestmark = pytest.mark.long  # of `make bench`, which no promise rests on


def test_ratios_are_paired_and_the_fastest_row_is_the_baseline_without_one():
    found = {"slow": [3e-6, 10e-6, 9e-6], "fast": [1e-6, 2e-6, 3e-6], "gone": [math.nan] * 3}
    lines = table("scheme", {"depth 8": found, "depth 9": found}, baseline=None).splitlines()
    assert lines[2] == "| slow | 9 | 3.00 [3.00, 5.00] | 9 | 3.00 [3.00, 5.00] |"  # 4.5 of the medians
    assert lines[3] == "| fast | 2 | 1 | 2 | 1 |"
    assert lines[4] == "| gone | did not finish |  | did not finish |  |"
    assert "| slow | 9 | 1 |" in table("scheme", {"depth 8": found}, baseline="slow")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_is_timed_where_its_numbers_stay_finite(scheme, tmp_path):
    network = Network("digits", depth=100, batch_size=8, steps=2)
    seconds = seconds_per_step(network.trial(tmp_path, scheme=scheme), datasets.prepare("digits"))
    assert math.isnan(seconds) == (scheme == "constant(0.05)")
