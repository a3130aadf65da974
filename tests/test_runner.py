"""The runner with real worker processes: what is trained and what not, failures, a stop; tests/torture has the rest."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from stored import payloads

import initbench
from initbench.errors import ConfigurationError
from initbench.records import store
from initbench.running import runner
from initbench.running.observer import Silent
from initbench.running.plan import draft_of, plan_study
from initbench.running.pool import LocalPool
from initbench.schemes import SCHEMES, Rule

SMALL = {
    "model": "mlp(depth=2, width=16)",
    "steps": 12,
    "seeds": 2,
    "schemes": ["kaiming", "torch_default", "orthogonal"],
}
COMMAND = [
    sys.executable, "-m", "initbench", "compare", "-m", "mlp(depth=4, width=64)", "--steps", "150", "--seeds", "6",
    "-s", "kaiming", "-s", "torch_default", "--name", "killed", "-q", "--out",
]  # fmt: skip


def planned(out, **changes):
    return plan_study(draft_of(None, SMALL | changes, "argument"), Path(out))


def ids(study):
    return {trial.id for trial in study.trials}


def carry_out(study, observer=None):
    return runner.carry_out(study, LocalPool(jobs=1), observer)


def test_other_schemes_and_their_order_change_no_byte(tmp_path):
    carry_out(planned(tmp_path / "a", schemes=["kaiming"]))
    carry_out(planned(tmp_path / "b", schemes=["ones", "orthogonal", "he_uniform"]))
    alone, among = payloads(tmp_path / "a"), payloads(tmp_path / "b")
    assert alone.items() <= among.items()


def test_what_is_stored_is_not_trained_again(tmp_path):
    counts = []

    class Counting(Silent):
        def started(self, todo, stored):
            counts.append((len(todo), stored))

    observer = Counting()
    carry_out(planned(tmp_path, schemes=["kaiming"]), observer)
    carry_out(planned(tmp_path), observer)
    comparison = carry_out(planned(tmp_path), observer)
    assert counts == [(2, 0), (4, 2), (0, 6)]
    assert len(comparison.trials) == 6
    assert comparison.missing == 0


@pytest.mark.parametrize(
    "change",
    [{"lr": 0.06}, {"steps": 13}, {"batch_size": 63}, {"seeds": [5, 6]}, {"optimizer": "adam"},
     {"model": "mlp(depth=3, width=16)"}, {"schemes": ["kaiming(a=0.1)", "ones", "zeros"]}],
)  # fmt: skip
def test_whatever_can_change_the_numbers_makes_another_trial(tmp_path, change):
    before, after = planned(tmp_path), planned(tmp_path, **change)
    assert not ids(before) & ids(after)


def test_target_and_baseline_change_no_trial(tmp_path):
    before, after = planned(tmp_path), planned(tmp_path, target=0.8, baseline="kaiming")
    assert ids(before) == ids(after)


@pytest.mark.long
def test_ctrl_c_keeps_what_is_finished_and_says_how_to_go_on(tmp_path):
    process = subprocess.Popen(
        [*COMMAND, str(tmp_path), "--jobs", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not payloads(tmp_path):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "of 12 trials stored. To continue: initbench compare" in errors
    assert "kaiming_uniform" in output, "what is stored is summarized"
    assert (tmp_path / "killed" / "report.html").exists()


def test_a_dead_worker_is_replaced_and_every_trial_gets_done(tmp_path):
    study = planned(tmp_path, steps=100, seeds=4)

    class Killer(Silent):
        done = 0

        def finished(self, record):
            self.done += 1
            if self.done == 2:
                os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    records = runner.train_missing(study, study.trials, LocalPool(jobs=2), Killer())
    assert [record.outcome.status for record in records] == ["finished"] * 12
    assert multiprocessing.active_children() == []


def test_a_scheme_that_raises_fails_alone_and_is_tried_again_next_time(tmp_path):
    def broken() -> Rule:
        """Raise when it fills."""

        def fill(_tensor, _layer, _generator):
            raise RuntimeError("it broke")

        return Rule(fill)

    entries = dict(SCHEMES._entries)
    SCHEMES.register()(broken)
    try:
        study = planned(tmp_path, schemes=["kaiming", "broken"])
        comparison = carry_out(study)
        outcomes = [record.outcome for record in comparison.records]
        assert [outcome.status for outcome in outcomes] == ["finished", "failed"] * 2
        assert "RuntimeError: it broke" in outcomes[1].reason
        assert "test_runner.py" in outcomes[1].reason
        assert study.stored == 2
    finally:
        SCHEMES._entries.clear()
        SCHEMES._entries.update(entries)


def test_one_job_stops_within_a_step_when_the_caller_stops(tmp_path):
    class Impatient(Silent):
        def finished(self, record):
            raise KeyboardInterrupt

    study = planned(tmp_path, steps=300)
    with pytest.raises(KeyboardInterrupt):
        runner.train_missing(study, study.trials, LocalPool(jobs=1), Impatient())
    assert len(payloads(tmp_path)) == 1
    assert not any(thread.name.startswith("initbench") for thread in threading.enumerate())


def test_a_damaged_trial_is_set_aside_and_computed_again(tmp_path):
    study = planned(tmp_path, schemes=["kaiming"])
    carry_out(study)
    before = payloads(tmp_path)
    path = store.path_of(tmp_path, study.trials[0].id)
    path.write_bytes(path.read_bytes()[:-100])

    heard = []

    class Listening(Silent):
        def damaged(self, path, reason):
            heard.append((path, reason))

    carry_out(study, Listening())
    assert payloads(tmp_path) == before
    assert [aside.name for aside, _ in heard] == [f"{path.name}.corrupt-1"]


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigurationError, match="did not write"):
        carry_out(planned(tmp_path, name="mine"))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert not payloads(tmp_path)


def test_batch_sizes_are_settings_of_their_own_and_change_no_trial(tmp_path):
    """Each size is compared by itself, with as many steps as its epochs have, in the trials it has alone."""
    axes = {"model": "linear", "schemes": ["zeros", "kaiming"], "seeds": 2, "epochs": 1}
    both = initbench.compare(**axes, batch_size=[16, 64], out=tmp_path)
    alone = [initbench.compare(**axes, batch_size=size, out=tmp_path) for size in (16, 64)]
    assert [str(panel) for panel in both.panels] == [
        "digits, linear, sgd, batch 16, lr 0.02",
        "digits, linear, sgd, lr 0.02",
    ]
    assert {r.trial.id for r in both.records} == {r.trial.id for c in alone for r in c.records}
    assert {(r.trial.batch_size, r.trial.steps) for r in both.records} == {(16, 80), (64, 20)}
    assert list(both.summary["batch_size"]) == [16, 16, 64, 64]
    means = both.trials.groupby(["batch_size", "scheme"])["test_accuracy"].mean()
    for row in both.summary.itertuples():
        assert row.test_accuracy == pytest.approx(means[row.batch_size, row.scheme])
