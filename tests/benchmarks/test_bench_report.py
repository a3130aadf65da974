"""The page of `make bench` shows medians of paired rounds, and no ratio where the work was not the same."""

from dataclasses import replace
from pathlib import Path

import machine
import pytest
from contenders.common import Job, Trained
from report import Measured, picture, rows, section
from roofline import Work
from rounds import OURS, Ran, Round
from workloads import WORKLOADS, lay_out

WORKLOAD = replace(WORKLOADS["A"], dataset="digits", batch_size=32, trials=2, steps=10)


@pytest.fixture
def job():
    return Job(lay_out(WORKLOAD, "digits", Path()), "digits", ".", processes=2)


TRIED = {"tutorial loop": {0: Ran("", 5.5, 5.6, []), 2: Ran("", 6, 6, [])}}


def result(job, steps=10):
    curve = [(0, 2.3, 2.3, 0.1), (10, 1.0, 1.1, 0.7)]
    return [Trained(trial.id, steps, steps * 32, 500, curve, [(1.0, 0.7)] * 3, 1.0) for trial in job.trials]


def a_round(job, ours, eager, moved=1.0, steps=10, compilation=0.0):
    ran = {
        "eager loop": Ran("2 processes × 1 thread", eager, eager, result(job, steps), compilation),
        OURS: Ran("2 processes × 1 thread", ours, 2 * ours, result(job)),
    }
    return Round((2e11, 2e11 * moved), 0.5, ran)


def measured(job, *rounds):
    # 10 steps of 1 GFLOP and 500 images of 20 MFLOP are 20 GFLOP: 0.1 s at 200 GFLOP/s.
    return Measured("A", WORKLOAD, "digits", job, Work(10**9, 2e7), TRIED, list(rounds), stolen=0.0)


def test_ratios_are_paired_and_rounds_that_were_not_calm_are_dropped(job):
    calm = [a_round(job, ours, eager) for ours, eager in ((0.2, 0.4), (0.5, 1.5), (0.4, 1.0))]
    found = measured(job, *calm, a_round(job, 0.1, 9.0, moved=1.2))
    table = rows(found).set_index("contender")
    assert table.loc["eager loop", "ratio"] == pytest.approx(2.5)  # of 2, 3 and 2.5
    assert table.loc["eager loop", ["ratio_low", "ratio_high"]].tolist() == [2, 3]
    assert table.loc[OURS, "share"] == pytest.approx(0.25)  # of 0.5, 0.2 and 0.25
    assert table.loc[OURS, "floor_seconds_per_trial"] == pytest.approx(0.1)
    assert found.share_of_replay() == pytest.approx([1.25, 0.5, 0.625])  # two cores share 0.5 s of one
    assert table["dropped"].tolist() == [1, 1]
    assert "in 1 the GEMM rate moved by more than 5% (1 dropped)" in section(found)


def test_pairs_count_and_not_the_ratio_of_medians(job):
    found = measured(job, *(a_round(job, *pair) for pair in ((1.0, 2.0), (2.0, 10.0), (3.0, 9.0))))
    assert rows(found).set_index("contender").loc["eager loop", "ratio"] == pytest.approx(3)  # 9 / 2 of the medians


def test_unequal_work_gets_no_ratio_even_from_one_round(job, tmp_path):
    found = measured(job, a_round(job, 0.25, 0.75), a_round(job, 0.25, 0.75, steps=9))
    page = section(found)
    assert "no ratio: trial" in page
    assert "steps: initbench 10, the other 9" in page
    assert "3.00" not in page
    assert "Equal work" not in page
    assert "ratio_in_all" not in rows(found).dropna(axis=1, how="any")
    picture([found], tmp_path / "bench.png")
    assert (tmp_path / "bench.png").stat().st_size > 0


def test_one_round_has_no_interval(job):
    page = section(measured(job, a_round(job, 0.25, 0.75)))
    assert "| 3.00 | 1.50 |" in page


def test_the_table_has_the_ratio_of_loops_and_that_of_all(job):
    page = section(measured(job, *(a_round(job, *pair) for pair in ((1.0, 1.2), (1.0, 1.4), (1.0, 1.6)))))
    assert "× initbench, loops | × initbench, all in" in page
    assert "| 1.40 [1.20, 1.60] | 0.70 [0.60, 0.80] |" in page  # all in, ours takes twice its loops


def test_a_command_has_one_ratio_only(job):
    found = replace(measured(job, a_round(job, 0.25, 0.75)), workload=replace(WORKLOAD, command=True))
    assert "loops" not in section(found)
    assert "| 1.50 |" in section(found)


def test_the_processor_is_named_beside_the_shares(job):
    page = section(measured(job, a_round(job, 0.25, 0.75)))
    assert f"Measured on {machine.processor()}" in page
    assert f"products of {machine.blas()}: 200 GFLOP/s" in page


def test_compilation_is_said_apart_and_the_layouts_tried(job):
    rounds = (a_round(job, 0.25, 0.75, compilation=seconds) for seconds in (19.0, 4.0, 5.0))
    page = section(measured(job, *rounds))
    assert "not counted: eager loop, 19.0 s in the first round and 4.5 s in later ones." in page
    assert "the fastest taken: tutorial loop, 0 DataLoader workers: 5.500 s, 2 DataLoader workers: 6.000 s." in page
    assert "Compilation per process" not in section(measured(job, a_round(job, 0.25, 0.75)))
