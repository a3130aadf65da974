"""What a recipe changes in the training split: subsets, wrong labels, and moves that every scheme and engine shares."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from long_form import examples
from torch.nn import functional

from initbench import datasets
from initbench import training as engines
from initbench.datasets import augmentation
from initbench.datasets.batches import resident
from initbench.datasets.cache import open_split
from initbench.errors import DataError, UsageError
from initbench.records.recipe import Trial
from initbench.training import autograd, loop


def silent(_group, _step):
    """Observe nothing."""


def trial_of(dataset, **changes):
    values = {
        "model": "mlp(depth=2, width=16, activation='relu')", "dataset": dataset.name,
        "fingerprint": dataset.fingerprint, "scheme": "kaiming_uniform", "optimizer": "sgd", "lr": 0.02,
        "batch_size": 32, "steps": 90, "seed": 3,
    }  # fmt: skip
    return Trial(**(values | changes))


def moved(image, text):
    """Return all images that the maps of `text` make of one (H, W)."""
    maps = augmentation.table(text, *image.shape)
    return np.where(maps < 0, 0, image.reshape(-1)[maps]).reshape(-1, *image.shape)


@examples(30)
@given(height=st.integers(2, 9), width=st.integers(2, 9), most=st.integers(1, 4))
def test_moves_are_those_of_torch(height, width, most):
    image = np.arange(1, height * width + 1).reshape(height, width)
    flat = torch.tensor(image, dtype=torch.float64)[None, None]
    assert {m.tobytes() for m in moved(image, "flip()")} == {image.tobytes(), np.fliplr(image).copy().tobytes()}
    for name, mode in (("crop", "constant"), ("shift", "replicate")):
        padded = functional.pad(flat, (most,) * 4, mode=mode)[0, 0].numpy().astype(np.int64)
        windows = [padded[i : i + height, j : j + width] for i in range(2 * most + 1) for j in range(2 * most + 1)]
        np.testing.assert_array_equal(moved(image, f"{name}({most})"), windows)


def test_moves_are_combined_in_the_order_written():
    image = np.arange(1, 31).reshape(5, 6)
    both = moved(image, "flip, crop(1)")
    assert len(both) == 2 * 9
    one_by_one = {window.tobytes() for flipped in moved(image, "flip") for window in moved(flipped, "crop(1)")}
    assert {m.tobytes() for m in both} == one_by_one


def test_every_scheme_and_engine_sees_the_same_augmented_images():
    digits = datasets.prepare("digits(augment='flip,shift(1)')")
    plain = datasets.prepare("digits")
    assert digits.name == "digits(augment='flip, shift(1)')"
    assert (digits.val_size, digits.mean) == (plain.val_size, plain.mean)
    assert digits.fingerprint != plain.fingerprint
    records = {}
    for name, dataset in (("moved", digits), ("plain", plain)):
        trial = trial_of(dataset)
        records[name] = engines.train([trial], dataset, silent)[0]
        reference = loop.train([trial], dataset, silent, autograd.ENGINE)[0]
        assert records[name].environment.engine != reference.environment.engine
        assert records[name].early.losses == pytest.approx(reference.early.losses, rel=1e-4)
        assert records[name].curve[-1].train_loss == pytest.approx(reference.curve[-1].train_loss, rel=1e-3)
    assert records["moved"].early.losses[5:] != records["plain"].early.losses[5:]
    assert records["moved"].layers == records["plain"].layers  # step 0 sees the images as they are


def test_a_batch_holds_the_chosen_window_of_each_image():
    dataset = datasets.prepare("digits(augment='crop(2)')")
    split = resident(dataset, "train", "cpu")
    (images, labels), *_ = split.batches([7], 16, 1)
    order, chosen = split.order(7, 0)[:16], split.chosen(7, 0)
    for k, index in enumerate(order.tolist()):
        stored = split.images[index, 0].numpy().astype(np.float32)
        expected = (moved(stored, "crop(2)")[chosen[index]] - dataset.mean[0]) / dataset.std[0]
        np.testing.assert_allclose(images[0, k, 0].numpy(), expected, rtol=1e-5, atol=1e-5)
        assert labels[0, k] == split.labels[index]
    assert len(set(chosen.tolist())) == 25


@pytest.mark.parametrize(("subset", "size"), [("0.5", 647), ("100", 100), ("10", 10)])
def test_a_subset_keeps_every_class_in_proportion_and_the_other_splits(subset, size):
    part, whole = datasets.prepare(f"digits(subset={subset})"), datasets.prepare("digits")
    assert part.train_size == size
    for split in ("val", "test"):
        for mine, theirs in zip(open_split(part, split), open_split(whole, split), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    counts, all_counts = (np.bincount(open_split(d, "train")[1], minlength=10) for d in (part, whole))
    assert np.abs(counts - all_counts * size / whole.train_size).max() <= 1
    images = {image.tobytes() for image in open_split(whole, "train")[0]}
    assert all(image.tobytes() in images for image in open_split(part, "train")[0])


def test_noise_makes_the_share_of_labels_wrong_and_no_other():
    noisy, whole = datasets.prepare("digits(noise=0.3)"), datasets.prepare("digits")
    images, labels = open_split(noisy, "train")
    clean_images, clean = open_split(whole, "train")
    np.testing.assert_array_equal(images, clean_images)
    wrong = labels != clean
    assert wrong.sum() == round(0.3 * len(clean))
    away = np.bincount((labels - clean)[wrong] % 10, minlength=10)
    assert away[0] == 0
    assert away[1:].min() > 0.5 * wrong.sum() / 9
    np.testing.assert_array_equal(open_split(noisy, "val")[1], open_split(whole, "val")[1])


def test_own_data_takes_the_same_changes(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.integers(256, size=(60, 4, 4), dtype=np.uint8), "y_train": np.arange(60) % 3}
    arrays |= {"x_test": arrays["x_train"][:9], "y_test": arrays["y_train"][:9]}
    np.savez(tmp_path / "mine.npz", **arrays)
    path = str(tmp_path / "mine.npz")
    assert datasets.resolve(f"{path}(noise=0.0)") == path
    assert datasets.prepare(f"{path}(subset=12, augment='flip')").train_size == 12
    with pytest.raises(DataError, match="has 54 images of 3 classes"):
        datasets.prepare(f"{path}(subset=55)")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("digits(augment='flop')", "augmentation 'flop': did you mean 'flip'"),
        ("digits(augment='crop')", "'padding'"),
        ("digits(augment='shift(0)')", "greater than or equal to 1"),
        ("digits(noise=1.5)", "less than 1"),
        ("digits(subset=0)", "greater than"),
        ("digits(augment='crop(32), crop(32)')", "are too many for 8×8"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(text, words):
    with pytest.raises((UsageError, DataError)) as error:
        datasets.prepare(text)
    assert words in str(error.value)
