"""The accuracy that counts as converged: the user's, what the nearest class mean reaches, or halfway above guessing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from analysis_data import DATA, a_comparison, a_trial, finished
from hypothesis import given
from hypothesis import strategies as st
from stored import a_folder
from typer.testing import CliRunner

from initbench import datasets
from initbench.analysis.targets import Target, default_target
from initbench.cli import app
from initbench.comparison import load, outline
from initbench.datasets import class_means
from initbench.datasets.arrays import moments
from initbench.records.manifest import read_manifest
from initbench.report.sentences import caveats, introduction
from initbench.running.plan import draft_of, plan_study

RECORDS = [finished(a_trial(seed=seed)) for seed in range(3)]
KNOWN = {RECORDS[0].trial.fingerprint: 0.7368}


def nearest_by_hand(train, val, mean, std):
    """The nearest class mean, image by image and class by class."""
    (images, labels), (others, truth) = ((x.astype(float), y) for x, y in (train, val))
    images, others = ((x - mean[:, None, None]) / std[:, None, None] for x in (images, others))
    centres = {c: images[labels == c].mean(axis=0) for c in sorted(set(labels.tolist()))}
    found = [min(centres, key=lambda c: ((image - centres[c]) ** 2).sum()) for image in others]
    return np.mean([c == t for c, t in zip(found, truth, strict=True)])


@pytest.mark.parametrize("held", [1, 1 << 20])
@given(seed=st.integers(0, 2**32), classes=st.integers(2, 6), byte=st.booleans())
def test_the_nearest_class_mean_is_that_of_brute_force(held, seed, classes, byte):
    draw = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), draw.integers(classes, size=20)])
    truth = draw.integers(classes, size=9)
    images, others = (
        40 * np.arange(3)[:, None, None] + 9 * y[:, None, None, None] + draw.normal(0, 20, (len(y), 3, 2, 2)) + 90
        for y in (labels, truth)
    )
    kind = np.uint8 if byte else np.float32
    train, val = (images.clip(0, 255).astype(kind), labels), (others.clip(0, 255).astype(kind), truth)
    mean, std = map(np.array, moments(train[0]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(class_means, "MEANS_BYTES", held)  # 1: one class at a time, as of very large images
        found = class_means.nearest_mean_accuracy(train, val, mean, std)
    assert found == nearest_by_hand(train, val, mean, std)


def test_of_a_dataset_it_is_known_with_the_classes_that_validation_lacks(tmp_path):
    images = np.repeat(np.arange(3, dtype=np.uint8), 20)[:, None, None] * np.full((2, 2), 80, np.uint8)
    labels = np.repeat([3, 5, 9], 20)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=images, y_test=labels,
             x_val=images[:20], y_val=np.full(20, 5))  # fmt: skip
    assert datasets.prepare(str(tmp_path / "a.npz")).nearest_mean == 0
    np.savez(tmp_path / "b.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    assert datasets.prepare(str(tmp_path / "b.npz")).nearest_mean == 1
    digits = datasets.prepare("digits")
    assert round(digits.nearest_mean * digits.val_size) == 131


@given(st.integers(20, 300), st.integers(1, 300))
def test_the_default_target_is_a_whole_percent_that_the_nearest_mean_reaches(correct, size):
    data = replace(DATA, val_size=300)
    target = default_target(data, min(correct, size) / size)
    percent = min(100 * min(correct, size) // size, 99)
    assert target in {Target(percent / 100, "nearest mean"), Target(0.55, "guessing")}
    assert (target.rule == "nearest mean") == (percent >= 19)  # of 160 images 30 are too many for a guess, 29 not


@pytest.mark.parametrize(("classes", "guess", "target"), [
    (2, 0.97, Target(0.985, "guessing", majority=True)),
    (10, 0.6, Target(0.8, "guessing", majority=True)),
    (2, 0.55, Target(0.75, "guessing")),
    (100, 0.02, Target(0.62, "nearest mean")),
])  # fmt: skip
def test_a_nearest_mean_that_guessing_could_reach_is_no_target(classes, guess, target):
    assert default_target(replace(DATA, classes=classes, guess=guess), 0.6263) == target


def test_the_users_target_wins_and_a_folder_without_the_figure_says_so(tmp_path):
    known = load(a_folder(tmp_path / "known", RECORDS, nearest_mean=KNOWN))
    assert known.targets == {"digits": Target(0.73, "nearest mean")}
    assert "validation accuracy ≥ 0.73 (what the nearest class mean reaches" in introduction(known)
    given = load(a_folder(tmp_path / "given", RECORDS, target=0.5, nearest_mean=KNOWN))
    assert given.targets == {"digits": Target(0.5, "given")}

    folder = a_folder(tmp_path / "earlier", RECORDS)
    manifest = json.loads((folder / "recipe.json").read_text())
    del manifest["nearest_mean"]  # as versions before wrote it
    (folder / "recipe.json").write_text('{\n "schema":' + json.dumps(manifest)[len('{"schema":') :])
    earlier = load(folder)
    assert earlier.targets == {"digits": Target(0.55, "unknown")}
    assert any("that of earlier versions" in line for line in caveats(earlier))
    assert not any("earlier versions" in line for each in (known, given) for line in caveats(each))
    for each, path in ((known, "known"), (earlier, "earlier")):
        assert outline(tmp_path / path / "compare-x").trials.equals(each.trials)


def test_the_figure_follows_from_the_data_alone(tmp_path):
    def planned(**given):
        return plan_study(draft_of(None, given, "argument"), out=tmp_path).manifest().nearest_mean

    usual = planned()
    assert list(usual.values()) == [datasets.prepare("digits").nearest_mean]
    assert planned(schemes=["zeros"], seeds=[7], lr=[0.5], steps=3, model="linear", target=0.3) == usual


def test_a_comparison_keeps_it_and_names_its_target(tmp_path):
    asked = ["compare", "-s", "kaiming", "--steps", "1", "--seeds", "1", "--out", str(tmp_path), "--json"]
    shown = json.loads(CliRunner().invoke(app, asked).stdout)
    assert shown["target"] is None
    assert shown["targets"] == {"digits": 0.9}
    folder = tmp_path / shown["name"]
    assert read_manifest(folder).nearest_mean.values()
    assert a_comparison(RECORDS, target=None, nearest_mean=KNOWN).trials["steps_to_target"].notna().all()
