"""Datasets: parsing against independent readers, laws of the splits, and damage that is named and never trusted."""

import collections
import dataclasses
import hashlib
import io
import json
import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from long_form import examples
from PIL import Image

import initbench.datasets as ds
from initbench.datasets import arrays, cache, files, published, splits, torchvision_sets
from initbench.errors import ConfigurationError, DataError, UsageError

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("INITBENCH_DATA", ROOT / "../shared/data"))
MNIST_RAW = DATA / "MNIST" / "raw"
REAL_NPZ = DATA / "cifar10-jpeg-12k.npz"

needs_mnist = pytest.mark.skipif(not MNIST_RAW.is_dir(), reason=f"no MNIST in {DATA}; INITBENCH_DATA may name it")
needs_npz = pytest.mark.skipif(not REAL_NPZ.is_file(), reason=f"no {REAL_NPZ.name} in {DATA}")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("INITBENCH_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INITBENCH_CACHE", str(tmp_path_factory.mktemp("mnist-cache")))
        yield ds.prepare("mnist", DATA)


def run_python(code, **environment):
    command = [sys.executable, "-W", "error", "-c", code]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env, timeout=120).stdout.strip()


def example(n_train=40, n_test=12, shape=(5, 6), classes=3, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)

    def images(n):
        values = rng.integers(0, 256, (n, *shape))
        return values.astype(dtype)

    return {
        "x_train": images(n_train),
        "y_train": np.arange(n_train) % classes,
        "x_test": images(n_test),
        "y_test": np.arange(n_test) % classes,
    }


def save(path, **values):
    np.savez(path, **values)
    return path


def rows(*splits_of_dataset):
    """Return the multiset of (image bytes, label)."""
    return collections.Counter(
        (image.tobytes(), int(label))
        for images, labels in splits_of_dataset
        for image, label in zip(images, labels, strict=True)
    )


def opened(dataset):
    return [ds.open_split(dataset, split) for split in ("train", "val", "test")]


# ---- names and imports


def test_importing_datasets_loads_none_of_the_heavy_libraries():
    code = "import sys, initbench.datasets; print([m for m in %r if m in sys.modules])"
    assert run_python(code % (["torch", "torchvision", "sklearn", "pandas", "PIL", "pooch", "scipy"],)) == "[]"


def test_a_worker_maps_a_cached_dataset_without_torch_and_without_sklearn(tmp_path):
    dataset = pickle.loads(pickle.dumps(ds.prepare("digits", tmp_path)))  # noqa: S301 - our own object
    code = (
        "import sys; from pathlib import Path; import initbench.datasets as ds; "
        "d = ds.prepare('digits', Path('nowhere')); images, labels = ds.open_split(d, 'val'); "
        "print(d.fingerprint, len(images), [m for m in ('torch', 'sklearn') if m in sys.modules])"
    )
    assert run_python(code) == f"{dataset.fingerprint} {dataset.val_size} []"


def test_every_named_dataset_has_a_one_sentence_summary_and_a_stamp():
    assert list(ds.DATASETS) == ["digits", "mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100"]
    assert set(ds.STAMPS) == set(ds.DATASETS)
    assert all(entry.summary.endswith(".") and [*entry.parameters] == [*entry.common] for entry in ds.DATASETS.values())


@pytest.mark.parametrize("text", ["data/mine", "./digits", "mine.npz", "MINE.NPZ", "~/x.npz"])
def test_a_path_stays_as_typed(text):
    assert ds.resolve(text) == text


def test_a_name_wins_over_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    (tmp_path / "pictures").mkdir()
    assert (ds.resolve("digits"), ds.resolve("pictures")) == ("digits", "pictures")
    assert ds.prepare("digits").shape == (1, 8, 8)


@pytest.mark.parametrize(("typed", "meant"), [("minst", "mnist"), ("fashion-mnist", "fashion_mnist")])
@pytest.mark.parametrize("use", [ds.resolve, ds.prepare, ds.locate, ds.fetch])
def test_an_unknown_name_comes_with_the_nearest(use, typed, meant):
    with pytest.raises(UsageError, match=f"did you mean '{meant}'"):
        use(typed)


def test_the_data_folder_is_the_environments_or_the_platforms(monkeypatch):
    monkeypatch.setenv("INITBENCH_DATA", "~/d")
    assert ds.default_data_dir() == Path.home() / "d"
    monkeypatch.delenv("INITBENCH_DATA")
    assert ds.default_data_dir().name == "initbench"


# ---- splits, fingerprints, moments: laws


@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=12),
    percent=st.integers(1, 60),
    key=st.text(max_size=5),
    order=st.randoms(use_true_random=False),
)
def test_a_stratified_draw_gives_each_class_its_share(sizes, percent, key, order):
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    order.shuffle(labels)
    labels = np.array(labels)
    count = max(1, len(labels) * percent // 100)
    mask = splits.stratified(labels, count, key)
    drawn, sizes = np.bincount(labels[mask], minlength=len(sizes)), np.array(sizes)
    assert mask.sum() == min(count, (sizes - 1).sum())
    assert (drawn < sizes).all()  # no class is left without a training image
    if (sizes > 1).all() and mask.sum() == count and count * 2 <= len(labels):
        spilled = max(0, int(np.floor(sizes * count / len(labels)).sum()) - (sizes - 1).sum())
        assert (drawn >= np.minimum(np.floor(sizes * count / len(labels)), sizes - 1)).all()
        assert spilled == 0
    assert (mask == splits.stratified(labels, count, key)).all()


def test_another_key_draws_another_validation_split():
    labels = np.arange(200) % 4
    assert (splits.stratified(labels, 20, "a") != splits.stratified(labels, 20, "b")).any()


def test_the_draw_is_the_same_on_every_machine_and_release():
    drawn = np.flatnonzero(splits.stratified(np.arange(60) % 3, 6, "golden")).tolist()
    assert drawn == [6, 13, 16, 39, 50, 53]


def test_the_fingerprint_sees_values_types_and_shapes_and_nothing_else(monkeypatch):
    images = np.random.default_rng(0).integers(0, 255, (30, 3, 4, 5)).astype(np.uint8)
    known = splits.fingerprint([images])
    changed = images.copy()
    changed[29, 2, 3, 4] ^= 1
    others = [changed, images.reshape(30, 3, 5, 4), images.astype(np.float32), images.view(np.int8)]
    assert known not in {splits.fingerprint([other]) for other in others}
    assert known not in {splits.fingerprint([images[:15], images[15:]]), splits.fingerprint([images, images])}
    assert known == splits.fingerprint([np.asfortranarray(images)]) == splits.fingerprint([images.copy()])
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 100)
    assert known == splits.fingerprint([images])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("block_bytes", [50, 1 << 20])
def test_moments_are_numpys(dtype, block_bytes, monkeypatch):
    monkeypatch.setattr(arrays, "BLOCK_BYTES", block_bytes)
    images = np.random.default_rng(1).integers(0, 256, (25, 3, 4, 6)).astype(dtype)
    images[:, 1] = images[:, 1] // 64 + (0 if dtype == np.uint8 else 1e4)
    mean, std = arrays.moments(images)
    np.testing.assert_allclose(mean, images.mean(axis=(0, 2, 3), dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(std, images.std(axis=(0, 2, 3), dtype=np.float64), rtol=1e-10)


@pytest.mark.parametrize("value", [np.uint8(7), np.uint8(0), np.float32(0.1), np.float32(-1e-30)])
def test_a_channel_that_never_changes_has_the_deviation_one(value):
    assert arrays.moments(np.full((77, 2, 7, 13), value))[1] == (1.0, 1.0)


def test_a_channel_that_changes_by_rounding_alone_has_the_deviation_one():
    images = np.full((50, 1, 3, 3), np.float32(1000))
    images[0, 0, 0, 0] = np.nextafter(images[0, 0, 0, 0], np.float32(2000))
    assert arrays.moments(images)[1] == (1.0,)


def test_global_random_state_is_untouched(tmp_path):
    import torch

    before = np.random.get_state()[1].tobytes(), random.getstate(), torch.get_rng_state().numpy().tobytes()  # noqa: NPY002
    ds.prepare("digits")
    ds.prepare(str(save(tmp_path / "a.npz", **example())))
    torchvision_sets.import_torchvision()
    after = np.random.get_state()[1].tobytes(), random.getstate(), torch.get_rng_state().numpy().tobytes()  # noqa: NPY002
    assert before == after


# ---- digits


def test_digits_are_scikit_learns_images_each_in_one_split():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    dataset = ds.prepare("digits", Path("nowhere"))
    parts = opened(dataset)
    assert rows(*parts) == rows((bunch.images.astype(np.uint8), bunch.target))
    assert (dataset.train_size, dataset.val_size, dataset.test_size) == (1294, 144, 359)
    assert (dataset.shape, dataset.classes) == ((1, 8, 8), 10)
    whole = np.bincount(bunch.target)
    assert (np.abs(np.bincount(parts[2][1]) - 0.2 * whole) <= 1).all()
    assert (np.abs(np.bincount(parts[1][1]) - 0.08 * whole) <= 1).all()


def test_what_a_dataset_says_of_itself_holds():
    dataset = ds.prepare("digits")
    (train, _), (_, val_labels), _ = opened(dataset)
    assert dataset.mean == pytest.approx((train.mean(),), rel=1e-12)
    assert dataset.std == pytest.approx((train.std(),), rel=1e-12)
    assert dataset.guess == collections.Counter(val_labels.tolist()).most_common(1)[0][1] / len(val_labels)


def test_torch_takes_the_mapped_arrays_without_a_copy_a_warning_or_a_change_of_the_file():
    import torch

    dataset = ds.prepare("digits")
    images, labels = ds.open_split(dataset, "train")
    tensor = torch.from_numpy(images)
    assert tensor.data_ptr() == images.ctypes.data
    assert torch.from_numpy(labels).dtype == torch.int64
    tensor += 1
    assert (ds.open_split(dataset, "train")[0] + 1 == images).all()


# ---- MNIST


def idx(path):
    """Read an IDX file of bytes independently of torchvision (http://yann.lecun.com/exdb/mnist)."""
    content = path.read_bytes()
    axes = content[3]
    shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


@needs_mnist
def test_mnist_equals_an_independent_reading(mnist):
    train, val, test = opened(mnist)
    images, labels = idx(MNIST_RAW / "train-images-idx3-ubyte"), idx(MNIST_RAW / "train-labels-idx1-ubyte")
    assert rows(train, val) == rows((images, labels))
    assert (test[0][:, 0] == idx(MNIST_RAW / "t10k-images-idx3-ubyte")).all()
    assert (test[1] == idx(MNIST_RAW / "t10k-labels-idx1-ubyte")).all()
    assert (mnist.train_size, mnist.val_size, mnist.test_size, mnist.shape) == (54000, 6000, 10000, (1, 28, 28))
    assert (np.abs(np.bincount(val[1]) - np.bincount(labels) / 10) <= 1).all()
    assert (mnist.mean, mnist.std) == (pytest.approx((train[0].mean(),)), pytest.approx((train[0].std(),)))


def mnist_copy(folder, damage=None):
    """Lay a data folder of links to MNIST, with one file copied and damaged."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in MNIST_RAW.iterdir():
        if damage is not None and path.name == damage[0]:
            (raw / path.name).write_bytes(damage[1](path.read_bytes()))
        else:
            (raw / path.name).symlink_to(path.resolve())
    return folder


def flipped(content, at=-1):
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


@needs_mnist
@pytest.mark.parametrize(
    ("name", "damage", "fault"),
    [
        ("train-images-idx3-ubyte", lambda content: content[:-1], "47,040,015 bytes long where .* 47,040,016"),
        ("t10k-images-idx3-ubyte", lambda content: content + b"x", "bytes long"),
        ("t10k-labels-idx1-ubyte", flipped, "sha256"),
        ("train-labels-idx1-ubyte", lambda content: flipped(content, 3), "sha256"),
        ("train-labels-idx1-ubyte", lambda _content: b"", "is 0 bytes long"),
    ],
)
def test_a_damaged_mnist_file_is_named_with_its_remedy(tmp_path, name, damage, fault):
    folder = mnist_copy(tmp_path, (name, damage))
    with pytest.raises(DataError, match=rf"{name} .*{fault}.*initbench data fetch mnist") as caught:
        ds.prepare("mnist", folder)
    found = ds.locate("mnist", folder)
    assert (found.state, found.note) == ("damaged", str(caught.value))


@needs_mnist
def test_a_missing_mnist_file_is_named(tmp_path):
    folder = mnist_copy(tmp_path)
    (folder / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte is missing, while others exist"):
        ds.prepare("mnist", folder)


@needs_mnist
def test_leftover_torch_pickles_are_never_read(tmp_path, mnist):
    folder = mnist_copy(tmp_path)
    (folder / "MNIST/processed").mkdir()
    for name in ("training.pt", "test.pt"):
        (folder / "MNIST/processed" / name).write_bytes(b"not what torch.load could read")
    assert ds.prepare("mnist", folder).fingerprint == mnist.fingerprint


@needs_mnist
def test_the_same_files_elsewhere_share_one_cache_folder(tmp_path, mnist, monkeypatch):
    monkeypatch.setenv("INITBENCH_CACHE", str(mnist.folder.parent))
    monkeypatch.setattr(torchvision_sets, "import_torchvision", None)  # parsing again would fail
    assert ds.prepare("mnist", mnist_copy(tmp_path)) == mnist


@needs_mnist
def test_locate_says_what_was_verified():
    found = ds.locate("mnist", DATA)
    assert (found.state, found.where, found.note) == ("verified", MNIST_RAW, "SHA-256 of all 4 files verified")


@pytest.mark.parametrize("name", list(published.SOURCES))
def test_an_absent_dataset_comes_with_three_ways_out(tmp_path, name):
    with pytest.raises(DataError) as caught:
        ds.prepare(name, tmp_path)
    for word in (str(tmp_path), "--data-dir", f"`initbench data fetch {name}`", "--dataset digits"):
        assert word in str(caught.value)
    assert ds.locate(name, tmp_path).state == "absent"


def test_a_folder_that_cannot_be_looked_into_is_our_error(tmp_path):
    with pytest.raises(DataError, match=r"Cannot look for MNIST in .* with --data-dir"):
        ds.prepare("mnist", tmp_path / ("x" * 300))


@pytest.mark.parametrize("text", ["~nobody-of-that-name/mine", "x" * 300 + "/y", "a\0/b", "x" * 300 + ".npz"])
def test_a_strange_path_is_our_error(text):
    with pytest.raises(DataError):
        ds.prepare(text)


@pytest.mark.parametrize("text", ["x" * 300, "a\0b", "", " ", "(", "mnist(3)", "digits(a=1)"])
def test_a_strange_name_is_our_error(text):
    with pytest.raises(UsageError):
        ds.resolve(text)


def test_digits_are_embedded():
    assert ds.locate("digits").state == "embedded"


# ---- torchvision


def test_the_hashes_are_torchvisions():
    sets = torchvision_sets.import_torchvision().datasets
    for source, cls in ((published.CIFAR10, sets.CIFAR10), (published.CIFAR100, sets.CIFAR100)):
        known = [*cls.train_list, *cls.test_list, [cls.meta["filename"], cls.meta["md5"]]]
        assert [[file.name, file.hash.removeprefix("md5:")] for file in source.files] == known
        assert (source.folder, source.archives[0].name) == (cls.base_folder, cls.filename)
    for source, cls in (
        (published.MNIST, sets.MNIST),
        (published.FASHION_MNIST, sets.FashionMNIST),
        (published.KMNIST, sets.KMNIST),
    ):
        assert [archive.name for archive in source.archives] == [name for name, _ in cls.resources]
        assert source.folder == f"{cls.__name__}/raw"


@pytest.mark.long
@pytest.mark.parametrize(
    "before",
    [
        "",
        # It dies where torch and torchvision do not fit; half of its modules stay behind.
        pytest.param("import torchvision", marks=pytest.mark.long),
    ],
)
def test_torchvision_imports_whatever_was_tried_before(before):
    code = (
        f"import contextlib\nwith contextlib.suppress(RuntimeError):\n    {before or 'pass'}\n"
        "from initbench.datasets.torchvision_sets import import_torchvision\n"
        "module = import_torchvision()\nimport torchvision, torchvision.transforms\n"
        "assert module is torchvision\nprint(torchvision.datasets.MNIST.__name__)"
    )
    assert run_python(code) == "MNIST"


class Poison:
    """Unpickling this leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def cifar_folder(tmp_path, monkeypatch, per_batch=20):
    """Lay a small CIFAR-10 whose hashes are made known to us and to torchvision."""
    cls = torchvision_sets.import_torchvision().datasets.CIFAR10
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(5)
    hashes, expected = {}, {}
    for file in published.CIFAR10.files:
        data = rng.integers(0, 256, (per_batch, 3072)).astype(np.uint8)
        labels = (np.arange(per_batch) % 10).tolist()
        content = {"label_names": list("abcdefghij")} if "meta" in file.name else {"data": data, "labels": labels}
        (folder / file.name).write_bytes(pickle.dumps(content))
        hashes[file.name] = hashlib.md5((folder / file.name).read_bytes(), usedforsecurity=False).hexdigest()
        expected[file.name] = (data.reshape(-1, 3, 32, 32), labels)
    known = tuple(published.File(name, f"md5:{value}") for name, value in hashes.items())
    monkeypatch.setitem(published.SOURCES, "cifar10", dataclasses.replace(published.CIFAR10, files=known))
    pairs = [[name, value] for name, value in hashes.items()]
    monkeypatch.setattr(cls, "train_list", pairs[:5])
    monkeypatch.setattr(cls, "test_list", pairs[5:6])
    monkeypatch.setattr(cls, "meta", {**cls.meta, "md5": pairs[6][1]})
    return folder, expected


def test_cifar_is_read_as_its_batches_hold_it(tmp_path, monkeypatch):
    _, expected = cifar_folder(tmp_path, monkeypatch)
    dataset = ds.prepare("cifar10", tmp_path)
    train, val, test = opened(dataset)
    assert rows(train, val) == rows(*(expected[f"data_batch_{number}"] for number in range(1, 6)))
    assert (test[0] == expected["test_batch"][0]).all()
    assert (dataset.shape, dataset.classes) == ((3, 32, 32), 10)


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_cifar_file_that_is_not_the_published_one_is_never_unpickled(tmp_path, monkeypatch, name):
    folder, _ = cifar_folder(tmp_path, monkeypatch)
    (folder / name).write_bytes(pickle.dumps(Poison(tmp_path / "executed")))
    with pytest.raises(DataError, match=f"{name} has the md5"):
        ds.prepare("cifar10", tmp_path)
    with pytest.raises(DataError, match=f"{name} has the md5"):
        ds.DATASETS.build("cifar10", tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.fixture
def small_fashion(tmp_path, monkeypatch):
    """Lay a Fashion-MNIST of 60 + 20 images of 3×4, without published hashes of its unpacked files."""
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    known = []
    for name, shape in zip(published.IDX_NAMES, ((60, 3, 4), (60,), (20, 3, 4), (20,)), strict=True):
        values = np.arange(np.prod(shape)) % (200 if len(shape) > 1 else 10)
        header = struct.pack(f">{1 + len(shape)}I", 0x0800 + len(shape), *shape)
        (folder / name).write_bytes(header + values.astype(np.uint8).tobytes())
        known.append(published.File(name, "", shape))
    source = dataclasses.replace(published.FASHION_MNIST, files=tuple(known))
    monkeypatch.setitem(published.SOURCES, "fashion_mnist", source)
    return tmp_path


def test_without_hashes_the_structure_is_verified_and_said_to_be_all(small_fashion):
    dataset = ds.prepare("fashion_mnist", small_fashion)
    assert (dataset.shape, dataset.train_size, dataset.val_size, dataset.test_size) == ((1, 3, 4), 54, 6, 20)
    found = ds.locate("fashion_mnist", small_fashion)
    assert found.state == "verified"
    assert "structure verified only" in found.note


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("train-images-idx3-ubyte", lambda content: flipped(content, 3)),
        ("train-images-idx3-ubyte", lambda content: flipped(content, 7)),
        ("t10k-labels-idx1-ubyte", lambda content: content[:-1] + b"\x0a"),
        ("t10k-labels-idx1-ubyte", lambda content: content[:-1]),
        ("t10k-labels-idx1-ubyte", lambda content: struct.pack(">2I", 0x801, 2**31 - 1) + content[8:]),
    ],
)
def test_a_wrong_structure_is_named(small_fashion, name, damage):
    path = small_fashion / "FashionMNIST/raw" / name
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=rf"{name} .*initbench data fetch fashion_mnist"):
        ds.prepare("fashion_mnist", small_fashion)


def test_the_packed_files_beside_them_prove_or_refute_the_unpacked_ones(small_fashion, monkeypatch):
    import gzip

    folder = small_fashion / "FashionMNIST/raw"
    source = published.SOURCES["fashion_mnist"]
    archives = []
    for file in source.files:
        packed = gzip.compress((folder / file.name).read_bytes())
        (folder / f"{file.name}.gz").write_bytes(packed)
        archives.append(published.Archive(f"{file.name}.gz", hashlib.sha256(packed).hexdigest(), len(packed)))
    monkeypatch.setitem(published.SOURCES, "fashion_mnist", dataclasses.replace(source, archives=tuple(archives)))
    assert "SHA-256 verified through the .gz" in ds.locate("fashion_mnist", small_fashion).note
    images = folder / "train-images-idx3-ubyte"
    images.write_bytes(flipped(images.read_bytes()))
    assert (
        "differs from the content of train-images-idx3-ubyte.gz next to it"
        in ds.locate("fashion_mnist", small_fashion).note
    )
    packed = folder / "train-images-idx3-ubyte.gz"
    packed.write_bytes(flipped(packed.read_bytes()))
    assert "published SHA-256" in ds.locate("fashion_mnist", small_fashion).note


# ---- the cache


def test_two_prepares_parse_once_and_give_one_folder(tmp_path, cache_folder, monkeypatch):
    path = save(tmp_path / "a.npz", **example())
    first = ds.prepare(str(path))
    monkeypatch.setattr(files, "read_npz", None)
    assert ds.prepare(str(path)) == first
    assert list(cache_folder.iterdir()) == [first.folder]
    assert {item.name for item in first.folder.iterdir()} == {
        "meta.json",
        *(f"{split}_{part}.npy" for split in ("train", "val", "test") for part in ("images", "labels")),
    }


def test_one_pixel_changes_fingerprint_and_folder_and_a_new_name_changes_no_fingerprint(tmp_path):
    values = example()
    first = ds.prepare(str(save(tmp_path / "a.npz", **values)))
    renamed = ds.prepare(str(save(tmp_path / "b.npz", **values)))
    values["x_train"][0, 0, 0] ^= 1
    changed = ds.prepare(str(save(tmp_path / "a.npz", **values)))
    assert renamed.fingerprint == first.fingerprint != changed.fingerprint
    assert changed.folder != first.folder


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "meta.json").unlink(),
        lambda folder: (folder / "meta.json").write_text("{"),
        lambda folder: (folder / "meta.json").write_text("[]"),
        lambda folder: (folder / "meta.json").write_text(
            (folder / "meta.json").read_text().replace('\\"train_size\\": 36', '\\"train_size\\": 37')
        ),
        lambda folder: (folder / "val_labels.npy").unlink(),
        lambda folder: (folder / "train_images.npy").write_bytes(b""),
        lambda folder: [path.unlink() for path in folder.iterdir()],
    ],
)
def test_a_damaged_cache_folder_is_built_again(tmp_path, cache_folder, damage):
    path = str(save(tmp_path / "a.npz", **example()))
    first = ds.prepare(path)
    expected = rows(*opened(first))
    damage(first.folder)
    assert ds.prepare(path) == first
    assert rows(*opened(first)) == expected
    assert list(cache_folder.iterdir()) == [first.folder]


def test_who_loses_the_race_takes_what_the_winner_wrote(tmp_path, cache_folder):
    parsed = files.read_npz(save(tmp_path / "a.npz", **example()))
    first = cache.build("a", "stamp", parsed, "here")
    written = (first.folder / "train_images.npy").stat().st_ino
    assert cache.build("a", "stamp", parsed, "here") == first
    assert (first.folder / "train_images.npy").stat().st_ino == written
    assert list(cache_folder.iterdir()) == [first.folder]


def test_a_failing_write_leaves_nothing_behind(tmp_path, cache_folder, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    path = str(save(tmp_path / "a.npz", **example()))
    monkeypatch.setattr(cache, "_write_meta", full)
    with pytest.raises(ConfigurationError, match=r"No space left on device.*INITBENCH_CACHE"):
        ds.prepare(path)
    assert list(cache_folder.iterdir()) == []


def test_a_cache_that_cannot_be_written_names_the_remedy(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INITBENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ConfigurationError, match="set INITBENCH_CACHE"):
        ds.prepare("digits")


def test_a_split_that_vanished_is_named(tmp_path):
    dataset = ds.prepare(str(save(tmp_path / "a.npz", **example())))
    (dataset.folder / "val_images.npy").unlink()
    with pytest.raises(DataError, match=r"cached val split of a .* run the command again"):
        ds.open_split(dataset, "val")


def test_a_dataset_registered_later_works_and_takes_parameters(monkeypatch):
    def blobs(_data_dir: Path, /, size: int = 4) -> ds.Arrays:
        """Blobs."""
        images = np.zeros((30, 1, size, size), np.float32)
        images[::2] = 1
        return ds.Arrays(images, np.arange(30) % 2, images[:6], np.arange(6) % 2)

    monkeypatch.setattr(ds.DATASETS, "_entries", dict(ds.DATASETS._entries))
    ds.DATASETS.register()(blobs)
    dataset = ds.prepare("blobs(size=5)")
    assert (dataset.name, dataset.shape) == ("blobs(size=5)", (1, 5, 5))
    assert ds.prepare("blobs(size=5)") == dataset != ds.prepare("blobs")


# ---- the user's .npz


@pytest.mark.parametrize(
    ("given_shape", "shape"),
    [
        ((7,), (1, 1, 7)),
        ((5, 6), (1, 5, 6)),
        ((5, 6, 1), (1, 5, 6)),
        ((5, 6, 3), (3, 5, 6)),
        ((5, 6, 4), (4, 5, 6)),
        ((3, 5, 6), (3, 5, 6)),
        ((1, 28, 28), (1, 28, 28)),
        ((3, 8, 4), (4, 3, 8)),  # both could be meant: Keras' way wins
    ],
)
def test_images_of_any_customary_layout(tmp_path, given_shape, shape):
    values = example(shape=given_shape)
    dataset = ds.prepare(str(save(tmp_path / "mine.npz", **values)))
    assert (dataset.name, dataset.shape) == ("mine", shape)
    test = ds.open_split(dataset, "test")[0]
    expected = values["x_test"]
    if len(given_shape) == 3 and given_shape[2] in (1, 3, 4):
        expected = np.moveaxis(expected, -1, 1)
    assert (test == expected.reshape(-1, *shape)).all()


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [("u1", "u1"), ("?", "u1"), ("f8", "f4"), (">f4", "f4"), ("f2", "f4"), ("i8", "f4"), ("i1", "f4"), ("u2", "f4")],
)
def test_numbers_of_any_type(tmp_path, dtype, stored):
    values = example(dtype=dtype)
    images, _ = ds.open_split(ds.prepare(str(save(tmp_path / "a.npz", **values))), "test")
    assert images.dtype == np.dtype(stored)
    assert (images[:, 0] == values["x_test"]).all()


@pytest.mark.parametrize("dtype", ["u1", "i2", "i8", "u8"])
def test_labels_of_any_values_become_consecutive(tmp_path, dtype):
    values = example(classes=3)
    names = np.array([3, 40, 100]).astype(dtype)
    values["y_train"], values["y_test"] = names[values["y_train"]][:, None], names[values["y_test"]]
    dataset = ds.prepare(str(save(tmp_path / "a.npz", **values)))
    assert dataset.classes == 3
    assert (names[ds.open_split(dataset, "test")[1]] == values["y_test"]).all()


def without(values, key):
    return {name: value for name, value in values.items() if name != key}


NAN = example(dtype=np.float64)
NAN["x_test"][3, 2, 1] = np.nan
HUGE = example(dtype=np.float64)
HUGE["x_train"][3, 2, 1] = 1e300


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (without(example(), "y_test"), r"no array y_test \(found: x_test, x_train, y_train\)"),
        ({**example(), "x_train": np.zeros((40, 2, 2, 2, 2))}, r"x_train in .* has the shape \(40, 2, 2, 2, 2\)"),
        ({**example(), "x_train": np.zeros((40, 9, 9, 2))}, r"with C = 1, 3 or 4"),
        ({**example(), "x_train": np.zeros(40)}, r"has the shape \(40,\)"),
        ({**example(), "x_train": np.float64(3)}, r"has the shape \(\)"),
        ({**example(), "x_test": example(shape=(6, 5))["x_test"]}, "make them the same"),
        ({**example(), "x_test": example(dtype="f4")["x_test"]}, "make them the same"),
        ({**example(), "y_train": np.arange(39) % 3}, "one integer or text for each image"),
        ({**example(), "y_train": np.arange(40) / 3}, r"y_train in .* integer classes or text of shape \(n,\)"),
        ({**example(), "y_train": np.eye(40) / 2}, "or one-hot rows, are needed"),
        ({**example(), "y_train": np.full(40, np.nan)}, "integer classes or text"),
        ({**example(), "y_train": np.array(["a", "b"] * 20)}, "save both as numbers or both as text"),
        (
            {**without(example(), "x_train"), "X_train": 0, "train_images": 0},
            "X_train and train_images: keep one as x_train",
        ),
        ({**example(), "y_test": np.arange(12)}, "test label 3 of .* is not a training label"),
        ({**example(), "y_train": np.full(40, 5)}, "All training labels of .* are 5"),
        ({**example(), "x_train": np.array(["a"] * 40)}, "save integers or floats"),
        ({**example(), "x_train": example(dtype="c8")["x_train"]}, "save integers or floats"),
        ({**example(), "x_test": np.zeros((0, 5, 6), np.uint8), "y_test": np.zeros(0, int)}, "without a zero"),
        (NAN, "NaN or infinity"),
        (HUGE, "NaN or infinity"),
        (example(n_train=3), "too few to hold any out"),
    ],
)
def test_an_npz_that_is_no_dataset_says_why(tmp_path, values, fault):
    path = save(tmp_path / "mine.npz", **values)
    with pytest.raises(DataError, match=fault) as caught:
        ds.prepare(str(path))
    assert str(path) in str(caught.value)


def test_object_arrays_are_refused_and_never_unpickled(tmp_path):
    poison = np.array([Poison(tmp_path / "executed")] * 40)
    path = save(tmp_path / "mine.npz", **{**example(), "y_train": poison})
    with pytest.raises(DataError, match=r"y_train in .* never unpickled"):
        ds.prepare(str(path))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [b"", b"hello", pickle.dumps([1]), b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_what_is_no_zip_is_no_npz(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz is not a readable \.npz"):
        ds.prepare(str(tmp_path / "a.npz"))


def test_a_header_that_promises_terabytes_takes_no_memory(tmp_path):
    header = io.BytesIO()
    fields = {"descr": "|u1", "fortran_order": False, "shape": (2**31, 1024)}
    np.lib.format.write_array_header_1_0(header, fields)
    path = save(tmp_path / "a.npz", **without(example(), "x_train"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", header.getvalue() + b"few")
    with pytest.raises(DataError, match="length that its header says"):
        ds.prepare(str(path))


@pytest.mark.parametrize("text", ["nowhere/mine", "mine.npz", "file.csv/", "./file.csv"])
def test_a_path_to_no_dataset_names_what_is_needed(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.csv").write_text("1")
    with pytest.raises(DataError, match=r"give the path of an .npz file .*digits, mnist"):
        ds.prepare(text)


@pytest.fixture(scope="module")
def npz_bytes():
    plain, packed = io.BytesIO(), io.BytesIO()
    np.savez(plain, **example(n_train=9, n_test=3))
    np.savez_compressed(packed, **example(n_train=9, n_test=3))
    return plain.getvalue(), packed.getvalue()


@examples(300)
@given(data=st.data())
def test_damaged_npz_bytes_raise_our_error_or_change_nothing(npz_bytes, tmp_path, data):
    content = bytearray(data.draw(st.sampled_from(npz_bytes)))
    place = st.integers(0, len(content) - 1)
    for at, bits in data.draw(st.lists(st.tuples(place, st.integers(1, 255)), max_size=4)):
        content[at] ^= bits
    path = tmp_path / "a.npz"
    path.write_bytes(content[: data.draw(st.one_of(st.just(len(content)), place))])
    whole = example(n_train=9, n_test=3)
    try:
        parsed = files.read_npz(path)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017 - success is as good as our error
    else:
        assert (parsed.train_images[:, 0] == whole["x_train"]).all()
        assert (parsed.test_labels == whole["y_test"]).all()


@needs_npz
def test_a_real_npz_equals_numpys_reading():
    dataset = ds.prepare(str(REAL_NPZ))
    train, val, test = opened(dataset)
    with np.load(REAL_NPZ, allow_pickle=False) as raw:
        images = raw["x_train"].transpose(0, 3, 1, 2)
        assert rows(train, val) == rows((images, raw["y_train"].ravel()))
        assert (test[0] == raw["x_test"].transpose(0, 3, 1, 2)).all()
        assert (test[1] == raw["y_test"].ravel()).all()
    assert (dataset.name, dataset.shape, dataset.train_size, dataset.val_size) == (
        REAL_NPZ.stem,
        (3, 32, 32),
        9000,
        1000,
    )


# ---- the user's image folder


def image_folder(folder, mode="RGB", suffix=".png", size=(6, 5), per_class=6):
    """Write random images; return them by relative path, as (H, W[, 3]) bytes."""
    rng = np.random.default_rng(2)
    written = {}
    for split in ("train", "test"):
        for label in ("cat", "dog", "eel"):
            for number in range(per_class):
                path = folder / split / label / f"{number}{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
                Image.fromarray(pixels).convert(mode).save(path)
                written[split, label, number] = np.asarray(Image.fromarray(pixels).convert(mode).convert("RGB"))
    return written


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("L", 1), ("1", 1), ("LA", 1), ("RGBA", 3), ("P", 3)])
def test_an_image_folder_comes_back_pixel_by_pixel(tmp_path, mode, channels):
    written = image_folder(tmp_path / "pets", mode)
    (tmp_path / "pets/train/cat/.hidden.png").write_bytes(b"junk")
    (tmp_path / "pets/train/cat/notes.txt").write_text("junk")
    (tmp_path / "pets/train/.cache").mkdir()
    dataset = ds.prepare(str(tmp_path / "pets"))
    assert (dataset.name, dataset.shape, dataset.classes) == ("pets", (channels, 5, 6), 3)

    def expected(split):
        chosen = [(pixels, key[1]) for key, pixels in written.items() if key[0] == split]
        images = np.stack([pixels.transpose(2, 0, 1)[:channels] for pixels, _ in chosen])
        return images, [("cat", "dog", "eel").index(label) for _, label in chosen]

    train, val, test = opened(dataset)
    assert rows(train, val) == rows(expected("train"))
    assert rows(test) == rows(expected("test"))


def test_sixteen_bits_keep_their_precision_beside_eight(tmp_path):
    image_folder(tmp_path / "scans", "L")
    levels = np.arange(30, dtype=np.uint16).reshape(5, 6)
    for path in (tmp_path / "scans").rglob("[1-5].png"):
        Image.fromarray(levels * 100).save(path)
    for path in (tmp_path / "scans").rglob("0.png"):
        Image.fromarray((levels % 7).astype(np.uint8)).save(path)
    dataset = ds.prepare(str(tmp_path / "scans"))
    images, _ = ds.open_split(dataset, "test")
    assert (images[1, 0] == levels * 100).all()
    assert (images[0, 0] == (levels % 7) * 257).all()  # of a byte's 255, 65535 / 255
    assert "its 16-bit images reach 2900 of 65535" in " ".join(dataset.notices)


def test_one_colour_image_makes_all_images_coloured(tmp_path):
    image_folder(tmp_path / "pets", "L")
    Image.new("RGB", (6, 5), (255, 0, 0)).save(tmp_path / "pets/test/eel/5.png")
    dataset = ds.prepare(str(tmp_path / "pets"))
    assert dataset.shape == (3, 5, 6)
    images, _ = ds.open_split(dataset, "test")
    assert images[-1, :, 0, 0].tolist() == [255, 0, 0]


def test_a_changed_image_gives_another_dataset(tmp_path):
    image_folder(tmp_path / "pets")
    first = ds.prepare(str(tmp_path / "pets"))
    assert ds.prepare(str(tmp_path / "pets") + "/") == first
    Image.new("RGB", (6, 5)).save(tmp_path / "pets/train/cat/0.png")
    assert ds.prepare(str(tmp_path / "pets")).fingerprint != first.fingerprint


def break_size(folder):
    Image.new("RGB", (6, 6)).save(folder / "test/dog/3.png")


def break_content(folder):
    path = folder / "test/dog/3.png"
    path.write_bytes(path.read_bytes()[:60])


def break_format(folder):
    # Pillow would open this, as it would open EPS, for which it starts another program.
    Image.new("RGB", (6, 5)).save(folder / "test/dog/3.png", format="PCX")


def break_range(folder):
    Image.fromarray(np.zeros((5, 6), np.float32)).save(folder / "test/dog/3.tif")


def break_bomb(folder):
    # Between once and twice Pillow's limit, where it only warns.
    (folder / "test/dog/3.ppm").write_bytes(b"P6\n12000 10000\n255\n")


def break_class(folder):
    (folder / "test/dog").rename(folder / "test/fox")


def break_emptiness(folder):
    (folder / "train/fox").mkdir()


def break_split(folder):
    (folder / "test").rename(folder / "holdout")


def break_twice(folder):
    (folder / "Test").mkdir()


def break_depth(folder):
    levels = np.arange(30, dtype=np.int32).reshape(5, 6)
    levels[0, :2] = -5, 70000
    Image.fromarray(levels).save(folder / "test/dog/3.tif")


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (break_size, r"test/dog/3\.png is 6×6 where .*train/cat/0\.png is 6×5"),
        (break_content, r"test/dog/3\.png cannot be read"),
        (break_format, r"test/dog/3\.png cannot be read"),
        (break_range, r"test/dog/3\.tif contains floats"),
        (break_bomb, r"test/dog/3\.ppm cannot be read .*decompression bomb"),
        (break_class, r"test class 'fox' .* has no folder train/fox"),
        (break_emptiness, r"train/fox has no images"),
        (break_split, r"has no test/<class>/ with images \(found: holdout, train\)"),
        (break_twice, r"has both Test and test: keep one"),
        (break_depth, r"test/dog/3\.tif cannot be read \(it holds values from -5 to 70000"),
    ],
)
def test_an_image_folder_that_is_no_dataset_names_the_culprit(tmp_path, damage, fault):
    image_folder(tmp_path / "pets")
    damage(tmp_path / "pets")
    with pytest.raises(DataError, match=fault):
        ds.prepare(str(tmp_path / "pets"))


def test_meta_is_plain_json(tmp_path):
    dataset = ds.prepare(str(save(tmp_path / "a.npz", **example())))
    document = json.loads((dataset.folder / "meta.json").read_text())
    described, _ = json.loads(document["payload"])
    assert described["fingerprint"] == dataset.fingerprint
    assert str(tmp_path) not in json.dumps(document)
