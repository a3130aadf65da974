"""Damaged data files of every kind: our error with the path and the remedy, in little memory, or nothing changed."""

import dataclasses
import gzip
import hashlib
import io
import json
import pickle
import re
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from long_form import TIMES, examples
from PIL import Image
from typer.testing import CliRunner

import initbench.datasets as ds
from initbench.cli import app
from initbench.datasets import arrays, files, published
from initbench.errors import ConfigurationError, DataError

LITTLE = 8 << 20  # bytes; the bombs below unpack to eight times as much
BOMB = 64 << 20
SHAPES = ((60, 3, 4), (60,), (20, 3, 4), (20,))


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INITBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def in_little_memory():
    """Hold a test to a few MB at its peak."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < LITTLE


def damages(size):
    """Draw what befalls a file of `size` bytes: cut, grown, or bytes changed, the first ones most often."""
    place = st.one_of(st.integers(0, min(40, size - 1)), st.integers(0, size - 1))
    cut = place.map(lambda at: lambda content: content[:at])
    grown = st.tuples(place, st.binary(min_size=1, max_size=9)).map(
        lambda drawn: lambda content: content[: drawn[0]] + drawn[1] + content[drawn[0] :]
    )
    tail = st.binary(min_size=1, max_size=9).map(lambda more: lambda content: content + more)

    def change(places):
        def damage(content):
            changed = bytearray(content)
            for at, value in places:
                changed[at] = value
            return bytes(changed)

        return damage

    changed = st.lists(st.tuples(place, st.integers(0, 255)), min_size=1, max_size=4).map(change)
    return st.one_of(cut, grown, tail, changed)


# ---- IDX


def idx_files():
    for name, shape in zip(published.IDX_NAMES, SHAPES, strict=True):
        values = np.arange(np.prod(shape)) % (200 if len(shape) > 1 else 10)
        header = struct.pack(f">{1 + len(shape)}I", 0x0800 + len(shape), *shape)
        yield name, shape, header + values.astype(np.uint8).tobytes()


@pytest.fixture
def idx(tmp_path, monkeypatch):
    """Lay a small Fashion-MNIST, each file beside its .gz, and return its folder."""
    folder = tmp_path / "data" / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    known, archives = [], []
    for name, shape, content in idx_files():
        packed = gzip.compress(content, mtime=0)
        (folder / name).write_bytes(content)
        (folder / f"{name}.gz").write_bytes(packed)
        known.append(published.File(name, "", shape))
        archives.append(published.Archive(f"{name}.gz", hashlib.sha256(packed).hexdigest(), len(packed)))
    source = dataclasses.replace(published.FASHION_MNIST, files=tuple(known), archives=tuple(archives))
    monkeypatch.setitem(published.SOURCES, "fashion_mnist", source)
    return folder


def confirmed(folder):
    return published.confirm(published.SOURCES["fashion_mnist"], folder.parents[1])


def restored(path, content):
    path.write_bytes(content)


@examples(80)
@given(data=st.data())
def test_damage_to_an_idx_file_or_its_archive_is_named(idx, data):
    name = data.draw(st.sampled_from([file.name for file in idx.iterdir()]))
    whole = (idx / name).read_bytes()
    damaged = data.draw(damages(len(whole)))(whole)
    (idx / name).write_bytes(damaged)
    try:
        if damaged == whole:
            assert confirmed(idx).startswith("SHA-256")
        else:
            with pytest.raises(DataError, match=r"data fetch fashion_mnist`, or delete it") as caught:
                confirmed(idx)
            assert str(idx / name.removesuffix(".gz")) in str(caught.value)
    finally:
        restored(idx / name, whole)


@examples(80)
@given(data=st.data())
def test_without_its_archive_damage_to_the_structure_of_an_idx_file_is_named(idx, data):
    for path in idx.glob("*.gz"):
        path.unlink()
    name, shape, whole = data.draw(st.sampled_from(list(idx_files())))
    damaged = data.draw(damages(len(whole)))(whole)
    (idx / name).write_bytes(damaged)
    header = 4 + 4 * len(shape)
    sound = len(damaged) == len(whole) and damaged[:header] == whole[:header]
    if len(shape) == 1:
        sound &= max(damaged[header:], default=10) <= 9
    try:
        if sound:
            assert confirmed(idx).startswith("structure verified only")
        else:
            with pytest.raises(DataError, match=f"{name} .*data fetch fashion_mnist"):
                confirmed(idx)
    finally:
        restored(idx / name, whole)


@pytest.mark.usefixtures("in_little_memory")
def test_an_idx_file_of_two_thousand_million_items_takes_no_memory(idx):
    images = idx / published.IDX_NAMES[0]
    images.write_bytes(struct.pack(">4I", 0x803, 2**31 - 1, 1, 1))
    with images.open("r+b") as file:
        file.truncate(16 + 2**31 - 1)  # as long as it says, with holes
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte is 2,147,483,663 bytes long where"):
        confirmed(idx)


@pytest.mark.usefixtures("in_little_memory")
def test_a_bomb_in_place_of_an_archive_is_not_unpacked(idx):
    packed = idx / f"{published.IDX_NAMES[0]}.gz"
    with gzip.open(packed, "wb") as file:
        for _ in range(BOMB >> 20):
            file.write(bytes(1 << 20))
    with pytest.raises(DataError, match="published SHA-256"):
        confirmed(idx)


# ---- CIFAR


@examples(40)
@given(data=st.data())
def test_damage_to_a_cifar_file_is_named_and_it_is_never_unpickled(tmp_path, data):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir(exist_ok=True)
    whole = {file.name: pickle.dumps({"n": file.name, "data": bytes(50)}) for file in published.CIFAR100.files}
    known = tuple(
        published.File(name, f"md5:{hashlib.md5(content, usedforsecurity=False).hexdigest()}")
        for name, content in whole.items()
    )
    source = dataclasses.replace(published.CIFAR100, files=known)
    for name, content in whole.items():
        (folder / name).write_bytes(content)
    assert published.confirm(source, tmp_path) == "MD5 of all 3 files verified"
    name = data.draw(st.sampled_from(list(whole)))
    damaged = data.draw(damages(len(whole[name])))(whole[name])
    (folder / name).write_bytes(damaged)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pickle, "load", lambda *_args, **_kwargs: pytest.fail("unpickled"))
        patch.setitem(published.SOURCES, "cifar100", source)
        if damaged != whole[name]:
            with pytest.raises(DataError, match=rf"{name} has the md5 .*data fetch cifar100"):
                ds.prepare("cifar100", tmp_path)


# ---- npz


def an_npz(**changes):
    values = {
        "x_train": np.arange(9 * 5 * 6, dtype=np.uint8).reshape(9, 5, 6),
        "y_train": np.arange(9) % 3,
        "x_test": np.arange(3 * 5 * 6, dtype=np.uint8).reshape(3, 5, 6),
        "y_test": np.arange(3),
    }
    packed = io.BytesIO()
    np.savez(packed, **(values | changes))
    return packed.getvalue()


def read(path):
    """Read an npz as a user's command would, or return None where the error is ours and says what to do."""
    try:
        return arrays.check(files.read_npz(path), path)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017 - success is as good as our error
        return None


def test_an_npz_cut_at_any_byte_is_no_npz(tmp_path):
    path, whole = tmp_path / "a.npz", an_npz()
    ends = {match.start() + off for match in re.finditer(b"PK|NUMPY", whole) for off in range(-2, 3)}
    for length in sorted({*range(0, len(whole), 1 if TIMES > 1 else 7), *ends, len(whole) - 1}):
        path.write_bytes(whole[:length])
        assert read(path) is None


@examples(80)
@given(data=st.data())
def test_a_damaged_npz_is_our_error_or_reads_as_it_did(tmp_path, data):
    whole = an_npz()
    path = tmp_path / "a.npz"
    path.write_bytes(data.draw(damages(len(whole)))(whole))
    if (parsed := read(path)) is not None:
        assert (parsed.train_images == np.arange(9 * 5 * 6, dtype=np.uint8).reshape(9, 1, 5, 6)).all()
        assert (parsed.test_labels == np.arange(3)).all()


sizes = st.one_of(st.integers(-3, 40), st.sampled_from([2**31, 2**63, 2**64, -(2**31), True, 1.5, None, "9"]))
headers = st.fixed_dictionaries(
    {
        "descr": st.one_of(
            st.sampled_from(["|u1", "<f8", ">i4", "|O", "<U9", "|V8", "<M8[s]", "|S0", "<c16", "?", "u1,u1", "<f2"]),
            st.lists(st.tuples(st.text(max_size=3), st.sampled_from(["<f8", "|O"])), max_size=2),
            st.text(max_size=6),
            st.none(),
        ),
        "fortran_order": st.one_of(st.booleans(), st.none(), st.integers()),
        "shape": st.one_of(st.lists(sizes, max_size=4).map(tuple), sizes),
    },
    optional={"more": st.none()},
)


@examples(120)
@given(
    header=st.one_of(headers.map(repr), st.text(max_size=60)),
    version=st.sampled_from([(1, 0), (2, 0), (3, 0), (1, 1), (9, 9)]),
    stated=st.one_of(st.none(), st.integers(0, 2**32 - 1)),
    content=st.binary(max_size=80),
)
def test_any_header_of_an_array_is_read_or_our_error(tmp_path, header, version, stated, content):
    text = header.encode("utf-8", "replace")
    length = len(text) if stated is None else stated
    length = struct.pack("<H", length % 2**16) if version[0] == 1 else struct.pack("<I", length)
    path = tmp_path / "a.npz"
    path.write_bytes(an_npz(x_train=np.zeros(0)).replace(b"x_train.npy", b"x_other.npy"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", b"\x93NUMPY" + bytes(version) + length + text + content)
    read(path)


def claim(path, name, size):
    """Have the directory of a zip file say that a member is `size` bytes long."""
    content = path.read_bytes()
    at = content.index(b"PK\x01\x02")
    while content[at + 46 : at + 46 + len(name)] != name.encode():
        at = content.index(b"PK\x01\x02", at + 4)
    path.write_bytes(content[: at + 24] + struct.pack("<I", size) + content[at + 28 :])


@pytest.mark.usefixtures("in_little_memory")
@pytest.mark.parametrize("lie", [False, True])
def test_an_array_that_claims_two_thousand_million_items_takes_no_memory(tmp_path, monkeypatch, lie):
    monkeypatch.setattr(arrays, "memory", lambda: 2**30)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**31, 1)})
    path = tmp_path / "a.npz"
    path.write_bytes(an_npz().replace(b"x_train.npy", b"x_other.npy"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", header.getvalue() + b"few")
    if lie:
        claim(path, "x_train.npy", 2**31 + len(header.getvalue()))
    with pytest.raises(DataError, match="would take 2.0 GiB" if lie else "length that its header says"):
        ds.prepare(str(path))


@pytest.mark.usefixtures("in_little_memory")
def test_an_honest_bomb_is_refused_where_it_does_not_fit_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "memory", lambda: BOMB // 2)
    path = tmp_path / "a.npz"
    path.write_bytes(an_npz().replace(b"x_train.npy", b"x_other.npy"))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("x_train.npy", "w") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "|u1", "fortran_order": False, "shape": (BOMB >> 20, 1 << 20)}
        )
        for _ in range(BOMB >> 20):
            file.write(bytes(1 << 20))
    assert path.stat().st_size < LITTLE // 8
    with pytest.raises(DataError, match=r"a\.npz would take 0\.1 GiB, .*give a smaller dataset"):
        ds.prepare(str(path))


@pytest.mark.usefixtures("in_little_memory")
def test_a_header_without_end_is_not_read_to_its_end(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(an_npz().replace(b"x_train.npy", b"x_other.npy"))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("x_train.npy", "w") as file:
        file.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", BOMB))
        for _ in range(BOMB >> 20):
            file.write(b" " * (1 << 20))
    with pytest.raises(DataError, match=r"not a readable \.npz"):
        ds.prepare(str(path))


@pytest.mark.usefixtures("in_little_memory")
def test_what_only_a_bomb_is_packed_with_is_not_unpacked(tmp_path):
    content = io.BytesIO()
    np.save(content, np.zeros((9, 5, 6), np.uint8))
    path = tmp_path / "a.npz"
    path.write_bytes(an_npz().replace(b"x_train.npy", b"x_other.npy"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x_train.npy", content.getvalue(), zipfile.ZIP_BZIP2)
    with pytest.raises(DataError, match="packed in a way that NumPy never packs"):
        ds.prepare(str(path))


def test_the_names_in_a_file_do_not_flood_the_terminal(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(500):
            archive.writestr(f"\x1b[31m{number:03}\n.npy", b"")
    result = CliRunner().invoke(app, ["compare", "-d", str(path), "--dry-run"])
    assert result.exit_code == 4
    assert "\x1b" not in result.stderr
    assert len(result.stderr) < 1000
    assert all(line.startswith("error: ") for line in result.stderr.splitlines())


# ---- images


@pytest.fixture
def pets(tmp_path):
    for place in ("train/cat", "train/dog", "test/cat", "test/dog"):
        folder = tmp_path / "pets" / place
        folder.mkdir(parents=True)
        for number in range(3):
            pixels = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(5, 6, 3) + number
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "pets"


@examples(80)
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM"]))
def test_a_damaged_image_is_our_error_or_an_image_of_its_size(pets, data, kind):
    whole = io.BytesIO()
    Image.open(pets / "train/cat/0.png").save(whole, format=kind)
    damaged = data.draw(damages(len(whole.getvalue())))(whole.getvalue())
    (pets / "train/cat/1.png").write_bytes(damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            parsed = files.read_images(files.list_images(pets))
        except DataError as error:
            assert str(pets / "train/cat/1.png") in str(error)  # noqa: PT017 - success is as good as our error
        else:
            assert parsed.train_images.shape == (6, 3, 5, 6)


@pytest.mark.usefixtures("in_little_memory")
def test_images_that_do_not_fit_the_memory_are_refused_by_their_headers(pets, monkeypatch):
    monkeypatch.setattr(arrays, "memory", lambda: BOMB // 2)
    for path in pets.rglob("*.png"):
        path.write_bytes(b"P6\n2000 1000\n255\n")  # twelve times six million bytes, none of them there
        path.rename(path.with_suffix(".ppm"))
    with pytest.raises(DataError, match=r"images in .*pets would take 0\.1 GiB"):
        ds.prepare(str(pets))


# ---- the cache of parsed datasets


@examples(40)
@given(data=st.data())
def test_a_cache_with_any_bit_changed_is_built_again(tmp_path, data):
    """But for bits that change nothing: a header may say u'|u1' for '|u1', and the array is the same."""
    (tmp_path / "a.npz").write_bytes(an_npz())
    dataset = ds.prepare(str(tmp_path / "a.npz"))
    splits = [[array.copy() for array in ds.open_split(dataset, split)] for split in ("train", "val", "test")]
    path = data.draw(st.sampled_from(sorted(dataset.folder.iterdir())))
    whole = path.read_bytes()
    path.write_bytes(data.draw(damages(len(whole)))(whole))
    assert ds.prepare(str(tmp_path / "a.npz")) == dataset
    for split, arrays_before in zip(("train", "val", "test"), splits, strict=True):
        for found, before in zip(ds.open_split(dataset, split), arrays_before, strict=True):
            assert found.dtype == before.dtype
            np.testing.assert_array_equal(found, before)
    path.write_bytes(whole)


@pytest.mark.parametrize("described", [{}, {"name": "x"}, [], None, 3, {"name": 1, "more": 2}])
def test_a_sealed_description_of_something_else_is_built_again(tmp_path, described):
    (tmp_path / "a.npz").write_bytes(an_npz())
    dataset = ds.prepare(str(tmp_path / "a.npz"))
    payload = json.dumps([described, {}])
    seal = {"payload": payload, "checksum": hashlib.sha256(payload.encode()).hexdigest()}
    (dataset.folder / "meta.json").write_text(json.dumps(seal))
    assert ds.prepare(str(tmp_path / "a.npz")) == dataset


# ---- exit codes


@pytest.mark.parametrize("kind", ["idx", "cifar", "npz", "images"])
def test_every_damaged_dataset_leaves_with_4_and_one_sentence(tmp_path, idx, pets, kind):
    (idx / published.IDX_NAMES[1]).write_bytes(b"short")
    cifar = Path("data/cifar-10-batches-py")
    cifar.mkdir(parents=True)
    for file in published.CIFAR10.files:
        (cifar / file.name).write_bytes(b"cut")
    Path("bad.npz").write_bytes(an_npz()[:-30])
    (pets / "test/dog/2.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    name = {"idx": "fashion_mnist", "cifar": "cifar10", "npz": "bad.npz", "images": str(pets)}[kind]
    where = ["--data-dir", "data", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["compare", "-s", "kaiming", "-d", name, *where])
    assert result.exit_code == 4
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert not (tmp_path / "out").exists()
    listed = CliRunner().invoke(app, ["data", "list", "--data-dir", "data"])
    assert listed.exit_code == 0
    assert listed.stdout.count("damaged") >= 2


def test_a_memory_that_is_not_known_refuses_nothing(monkeypatch):
    monkeypatch.delattr(arrays.os, "sysconf")
    monkeypatch.setattr(arrays, "CONTAINER_LIMITS", ())
    arrays.refuse_giant(2**80, "x")
    monkeypatch.undo()
    with pytest.raises(ConfigurationError, match="give a smaller dataset"):
        arrays.refuse_giant(2**80, "x")
