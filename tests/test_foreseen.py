"""What no result could decide is said before anything is trained."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from analysis_data import DATA, a_comparison, a_trial, failed, finished
from typer.testing import CliRunner

from initbench.analysis.statistics.flips import sign_flip
from initbench.analysis.statistics.intervals import beats_guessing, images_to_beat_guessing
from initbench.cli import app
from initbench.datasets import Dataset
from initbench.records import store
from initbench.records.recipe import Claim, Recipe
from initbench.records.record import Timings
from initbench.report.document import document_of
from initbench.running.forecast import forecast
from initbench.running.foreseen import too_few_seeds, undecidable

BALANCED = Dataset("d", "f", Path(), (1, 8, 8), 10, 900, 100, 100, (0.0,), (1.0,), 0.1, 0.8)
CLAIM = Claim(text="c", better="orthogonal", than="torch_default", metric="test_loss")


@pytest.mark.parametrize("guess", [0.01, 0.1, 0.5, 0.967, 0.999])
def test_the_images_needed_are_the_fewest_on_which_a_perfect_score_beats_guessing(guess):
    needed = images_to_beat_guessing(guess)
    assert beats_guessing(needed, needed, guess)
    assert not beats_guessing(needed - 1, needed - 1, guess)
    assert scipy.stats.binom.pmf(needed, needed, guess) == pytest.approx(guess**needed)


@pytest.mark.parametrize(
    ("size", "guess", "said"),
    [
        (120, 0.967, ["d: 120 validation images cannot show that a scheme learns: even a perfect score has p = 0.018"]),
        (6, 0.5, ["10 would do: about 17 training images instead of 10"]),
        (30, 1.0, ["all 30 validation images are of one class"]),
        (10, 0.5, []),
    ],
)
def test_too_few_images_are_said_before_training(size, guess, said):
    few = replace(BALANCED, train_size=4 if size == 6 else 900, val_size=size, guess=guess)
    found = list(undecidable(Recipe(), [few]))
    assert len(found) == len(said)
    assert all(part in sentence for part, sentence in zip(said, found, strict=True))


@pytest.mark.parametrize("claims", [1, 3, 8])
def test_claims_that_must_stay_undecided_are_named_with_the_seeds_that_decide_them(claims):
    recipe = Recipe(claims=(CLAIM,) * claims, seeds=tuple(range(5)))
    [sentence] = undecidable(recipe, [BALANCED])
    needed = int(sentence.partition("--seeds ")[2].partition(")")[0])
    assert claims * sign_flip(np.ones(needed)) <= 0.05 < claims * sign_flip(np.ones(needed - 1))
    assert not list(undecidable(recipe.model_copy(update={"seeds": tuple(range(needed))}), [BALANCED]))


def test_claims_that_a_table_decides_need_the_seeds_of_its_family():
    in_table = CLAIM.model_copy(update={"metric": "test_accuracy"})
    [sentence] = undecidable(Recipe(claims=(in_table,), seeds=tuple(range(8))), [BALANCED])
    assert "(--seeds 9)" in sentence  # seven schemes against the baseline
    two = Recipe(schemes=("orthogonal", "torch_default"), claims=(in_table,) * 3, seeds=tuple(range(6)))
    assert not list(undecidable(two, [BALANCED]))


def test_a_target_that_the_most_frequent_class_reaches_is_said():
    unlike = replace(BALANCED, val_size=1000, guess=0.97)
    [sentence] = undecidable(Recipe(target=0.75), [unlike])
    assert "the target 0.75 is reached without learning" in sentence
    assert not list(undecidable(Recipe(target=0.98), [unlike]))


def test_a_comparison_says_on_stderr_what_its_seeds_cannot_decide(tmp_path):
    few = CliRunner().invoke(app, ["compare", "--seeds", "5", "--dry-run", "--out", str(tmp_path)])
    assert "note: 5 seeds cannot tell 7 schemes from the baseline" in few.stderr
    assert "(--seeds 9)" in few.stderr
    assert not list(too_few_seeds(Recipe(seeds=tuple(range(9)))))
    assert not list(too_few_seeds(Recipe(schemes=("orthogonal",), seeds=(0,))))


def test_a_perfect_score_on_too_few_images_is_never_called_not_learning():
    data = replace(DATA, classes=2, val_size=120, guess=0.97)
    sides = [("orthogonal", 0.999), ("torch_default", 0.97)]
    records = [finished(a_trial(s, seed), val=1.0, test=t, data=data) for s, t in sides for seed in range(7)]
    few = a_comparison(records, baseline="torch_default", notices=("d: few images.",))
    [verdict] = few.verdicts_full.itertuples()
    assert verdict.accuracy_verdict == "too few images"
    document = document_of(few)
    told = " ".join([*document.tables[0].lines, *document.answers, *document.caveats])
    assert "too few validation images to tell who learns (measured +2.9 points" in told
    assert "d: few images." in told
    assert document.tables[0].rows[0][0] == "orthogonal"
    assert not {"not learn", "No trial learned"} & {part for part in ("not learn", "No trial learned") if part in told}
    assert document.tables[0].rows[0][1] == "–/7"
    few_seeds = a_comparison(
        [r for r in records if r.trial.seed < 3], baseline="torch_default", notices=("d: few images.",)
    )
    [verdict] = few_seeds.verdicts_full.itertuples()
    assert verdict.accuracy_verdict == "too few seeds"
    assert "learned" not in verdict.accuracy_text
    enough = replace(DATA, classes=2, val_size=300, guess=0.97)
    assert not a_comparison([finished(a_trial(), data=enough)]).too_small


def test_a_claim_on_too_few_images_does_not_say_that_none_learns():
    few = {"data": replace(DATA, val_size=6, guess=0.5)}
    records = [
        finished(a_trial(scheme, seed), test=test, **few)
        for scheme, test in (("orthogonal", 0.9), ("torch_default", 0.5)) for seed in range(8)
    ]  # fmt: skip
    (found,) = a_comparison(records, claims=(CLAIM,)).claims_judged
    assert (found.status, found.p) == ("undecided", None)
    assert "too few validation images to tell who learns" in found.text
    assert "learned 0 of" not in found.text


def test_a_forecast_is_what_stored_trials_of_the_kind_took_and_says_what_it_does_not_know(tmp_path):
    """Two kinds are stored, one of them with failed and damaged trials; a third is not."""
    for seed in range(4):
        timings = Timings(seconds_init=0.5, seconds_train=1.5 + seed)
        store.write(tmp_path, finished(a_trial(seed=seed, steps=100), timings=timings))
        store.write(
            tmp_path,
            finished(a_trial(seed=seed, model="linear"), timings=Timings(seconds_init=0.0, seconds_train=200.0)),
        )
    store.write(tmp_path, failed(a_trial(seed=9, steps=100)))
    damaged = store.path_of(tmp_path, a_trial(seed=0, model="linear").id)
    damaged.write_bytes(damaged.read_bytes()[:-9])
    asked = [a_trial("orthogonal", seed, lr=0.3, steps=400) for seed in range(10)]
    known = forecast(asked, tmp_path, jobs=2)
    seconds_per_step = (4 * 0.5 + 1.5 + 2.5 + 3.5 + 4.5) / 400
    assert known.seconds == pytest.approx(10 * 400 * seconds_per_step / 2)
    assert str(known) == (
        "About 1 min of training on 2 workers, as stored trials of that kind took. Step 0 and the report come on top."
    )
    assert forecast(asked, tmp_path, jobs=50).seconds == pytest.approx(400 * seconds_per_step)  # the longest
    mixed = forecast([*asked, a_trial(optimizer="adam"), a_trial(batch_size=32)], tmp_path, jobs=1)
    assert (mixed.known, mixed.trials) == (10, 12)
    assert "for 10 of these on one worker" in str(mixed)
    assert "; no trial of the other kinds is stored." in str(mixed)
    assert str(forecast([a_trial(optimizer="adam")], tmp_path, None)).startswith("Time unknown")
    assert str(forecast(asked, tmp_path / "nothing", None)).startswith("Time unknown")
    same = forecast([a_trial(optimizer="sgd(momentum=0.9)", model="linear")], tmp_path, jobs=1)
    assert same.seconds == pytest.approx(200)
