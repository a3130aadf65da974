"""Learning-rate fairness, crossed seeds and the stamp, with real training on tiny settings."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from initbench import datasets, training
from initbench.comparison import load
from initbench.datasets.batches import resident
from initbench.errors import UsageError
from initbench.networks.models import build_model
from initbench.records.recipe import FIRST_TUNING_SEED, Trial
from initbench.records.record import EARLY_STEPS
from initbench.running import runner
from initbench.running.plan import draft_of, plan_study
from initbench.running.pool import LocalPool
from initbench.schemes import initialize
from initbench.training.environment import reproducible

SMALL = {"model": "mlp(depth=1, width=8)", "steps": 8, "seeds": 2, "schemes": ["kaiming", "normal(std=0.01)"]}


def planned(out, **changes):
    return plan_study(draft_of(None, SMALL | changes, "argument"), Path(out))


def carry_out(study):
    return runner.carry_out(study, LocalPool(jobs=1))


def asked(comparison_folder):
    return json.loads((comparison_folder / "recipe.json").read_text())


def test_rates_are_tuned_on_seeds_that_are_never_scored(tmp_path):
    study = planned(tmp_path, lr=[0.01, 0.1, 1.0], tuning_seeds=2)
    assert study.trials == ()
    comparison = carry_out(study)
    scored = {record.trial.seed for record in comparison.records}
    tuned = {record.trial.seed for record in comparison.tuning}
    assert scored == {0, 1}
    assert tuned == {FIRST_TUNING_SEED, FIRST_TUNING_SEED + 1}
    assert set(comparison.trials["seed"]) == scored
    assert set(comparison.summary["n"]) == {2}


def test_every_scheme_gets_the_same_grid_and_is_scored_at_its_own_and_at_the_common_rate(tmp_path):
    comparison = carry_out(planned(tmp_path, lr=[0.01, 0.1, 1.0], tuning_seeds=2))
    grids = {}
    for record in comparison.tuning:
        grids.setdefault(record.trial.scheme, set()).add(record.trial.lr)
    assert len(set(map(frozenset, grids.values()))) == 1
    choice = comparison.tuned_rates[0]
    for scheme in comparison.schemes:
        rates = {record.trial.lr for record in comparison.records if record.trial.scheme == scheme}
        assert rates == {choice.own[scheme], choice.common}


def test_a_grid_is_extended_once_where_the_best_rate_stands_at_its_edge(tmp_path):
    comparison = carry_out(planned(tmp_path, lr=[0.0001, 0.001], tuning_seeds=1, schemes=["kaiming"]))
    rates = sorted({record.trial.lr for record in comparison.tuning})
    assert rates == [0.0001, 0.001, 0.01]


def test_a_tuned_comparison_is_not_trained_again(tmp_path, monkeypatch):
    changes = {"lr": [0.01, 0.1], "tuning_seeds": 1}
    first = carry_out(planned(tmp_path, **changes))
    monkeypatch.setattr(training, "train", None)  # training again would fail
    second = carry_out(planned(tmp_path, **changes))
    assert second.records == first.records
    assert second.tuning == first.tuning


def test_tuning_and_scoring_seeds_may_not_meet(tmp_path):
    with pytest.raises(UsageError, match=r"seeds: .1. are tuning seeds too"):
        planned(tmp_path, lr=[0.1, 0.2], tuning_seeds=[1, 7])
    planned(tmp_path, lr=0.1, tuning_seeds=[1, 7])  # without a grid nothing is tuned


def test_crossed_seeds_share_weights_along_a_row_and_batches_along_a_column(tmp_path):
    comparison = carry_out(planned(tmp_path, vary="init,order", seeds=3, schemes=["kaiming"]))
    assert len(comparison.records) == 3
    assert len(comparison.crossed) == 6
    cells = {(r.trial.seed, r.trial.order_seed): r for r in comparison.crossed}
    start = {key: cell.curve[0].val_loss for key, cell in cells.items()}
    assert start[0, 1] == start[0, 2] != start[1, 2]
    assert cells[0, 1].curve != cells[0, 2].curve


def test_an_order_seed_gives_the_batches_of_a_trial_with_that_seed():
    digits = datasets.prepare("digits")
    common = {
        "model": "linear", "dataset": digits.name, "fingerprint": digits.fingerprint, "optimizer": "sgd",
        "lr": 0.1, "batch_size": 32, "steps": 5, "scheme": "zeros",
    }  # fmt: skip
    plain = Trial(**common, seed=4)
    crossed = Trial(**common, seed=9, order_seed=4)
    assert plain.id != crossed.id
    curves = [training.train([trial], digits, lambda *_: None)[0].curve for trial in (plain, crossed)]
    assert curves[0] == curves[1], "zero weights do not depend on the seed, so only the order is left"


def test_the_first_steps_are_kept_one_by_one():
    digits = datasets.prepare("digits")
    trial = Trial(
        model="mlp(depth=1, width=8, activation='relu')", dataset=digits.name, fingerprint=digits.fingerprint,
        scheme="kaiming_uniform", optimizer="sgd", lr=0.1, batch_size=32, steps=60, seed=1,
    )  # fmt: skip
    early = training.train([trial], digits, lambda *_: None)[0].early
    assert len(early.losses) == len(early.gradient_norms) == EARLY_STEPS
    with reproducible("cpu"):
        model = initialize(build_model(trial.model, digits.shape, 10), "kaiming_uniform", seed=1)
        for step, (images, labels) in enumerate(resident(digits, "train", "cpu").batches([1], 32, 5)):
            loss = functional.cross_entropy(model(images[0]), labels[0])
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
            assert early.losses[step] == pytest.approx(loss.item(), rel=1e-5)
            assert early.gradient_norms[step] == pytest.approx(norm, rel=1e-5)
            with torch.no_grad():
                for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                    parameter.sub_(0.1 * gradient)


CLAIM = {"text": "Kaiming wins.", "metric": "test_accuracy", "better": "he_uniform", "than": "normal(0, 0.01)"}


def test_what_is_asked_is_stamped_before_the_first_trial(tmp_path, monkeypatch):
    study = planned(tmp_path, claims=[CLAIM], name="claimed")

    def stop(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("initbench.running.runner.train_missing", stop)
    with pytest.raises(KeyboardInterrupt):
        carry_out(study)
    stamped = asked(tmp_path / "claimed")
    assert stamped["claims"][0]["better"] == "kaiming_uniform"
    assert stamped["claims"][0]["than"] == "normal(std=0.01)"
    assert load(tmp_path / "claimed").missing == 4


def test_seeds_added_after_a_look_are_on_record(tmp_path):
    carry_out(planned(tmp_path, name="named"))
    assert asked(tmp_path / "named")["looks"] == []
    carry_out(planned(tmp_path, name="named"))
    assert asked(tmp_path / "named")["looks"] == []
    carry_out(planned(tmp_path, name="named", seeds=3))
    assert asked(tmp_path / "named")["looks"] == [[0, 1]]
    assert load(tmp_path / "named").looks == ((0, 1),)


def test_another_question_under_an_old_name_has_not_been_looked_at(tmp_path):
    carry_out(planned(tmp_path, name="named"))
    carry_out(planned(tmp_path, name="named", schemes=["orthogonal"], seeds=3))
    assert asked(tmp_path / "named")["looks"] == []


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (CLAIM | {"better": "kaimin"}, "did you mean 'kaiming'"),
        (CLAIM | {"than": "ones"}, "'ones' is not among the schemes"),
        (CLAIM | {"metric": "accuracy"}, "'test_accuracy'"),
        (CLAIM | {"txt": "x"}, "claims"),
        (CLAIM | {"where": {"model": "cnn"}}, "where.model"),
        (CLAIM | {"where": {"modell": "cnn"}}, "claims"),
        (CLAIM | {"where": {"optimizer": "sdg"}}, "did you mean 'sgd'"),
        (CLAIM | {"where": {"dataset": "mnist"}}, "where.dataset: 'mnist' is not among"),
        (CLAIM | {"where": {"lr": 0.5}}, "where.lr: 0.5 is not among"),
    ],
)
def test_a_claim_about_nothing_is_a_mistake(tmp_path, claim, message):
    with pytest.raises(UsageError, match=message):
        planned(tmp_path, claims=[claim])


def test_a_claim_may_say_where_in_any_spelling(tmp_path):
    study = planned(tmp_path, claims=[CLAIM | {"where": {"model": "mlp(1, 8)", "lr": 0.02}}])
    where = study.recipe.claims[0].where
    assert where == {"model": "mlp(depth=1, width=8, activation='relu')", "lr": 0.02}
    assert set(carry_out(study).trials["model"]) == {where["model"]}


def test_mistakes_in_claims_are_named_with_all_others(tmp_path):
    with pytest.raises(UsageError) as caught:
        planned(tmp_path, claims=[CLAIM | {"better": "kaimin"}, CLAIM | {"than": "ones"}], optimizer="sdg")
    assert len(str(caught.value).splitlines()) == 3


def test_crossed_seeds_do_not_share_a_folder_with_the_plain_comparison(tmp_path):
    assert planned(tmp_path).folder != planned(tmp_path, vary="init,order").folder
