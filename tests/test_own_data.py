"""Data as people bring it: read as it is meant, or told in a sentence at the entrance."""

import os
import re
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import initbench.datasets as ds
from initbench.cli import app
from initbench.datasets import arrays
from initbench.errors import DataError
from initbench.running.inspection import plan_inspection, run_inspection

RNG = np.random.default_rng(0)
TURNS = {  # EXIF 2.32, table 6: where row 0 and column 0 of the stored pixels are in the picture
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).T,
    8: lambda a: np.rot90(a, 3),
}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INITBENCH_CACHE", str(tmp_path / "cache"))


def digits(count, classes=3):
    return RNG.integers(0, 256, (count, 6, 5)).astype(np.uint8), np.arange(count) % classes


def an_npz(path, **changes):
    (x_train, y_train), (x_test, y_test) = digits(60), digits(12)
    values = {"x_train": x_train, "y_train": y_train, "x_test": x_test, "y_test": y_test} | changes
    np.savez(path, **{name: value for name, value in values.items() if value is not None})
    return path


def a_folder(root, save=lambda pixels, path, _number: Image.fromarray(pixels).save(path), splits=("train", "test")):
    """Write 12 grey images a class; return the pixels by path."""
    written = {}
    for split in splits:
        for name in ("a", "b"):
            (root / split / name).mkdir(parents=True)
            for number in range(12):
                path = root / split / name / f"{number:02}.png"
                written[path] = RNG.integers(0, 256, (6, 6)).astype(np.uint8)
                save(written[path], path, number)
    return written


def told(path):
    """Return a dataset and all that is said of it."""
    dataset = ds.prepare(str(path))
    return dataset, " ".join(dataset.notices)


def pixels_of(dataset):
    images, _ = ds.open_split(dataset, "test")
    return images


# ---- images as they are seen


@pytest.mark.parametrize(
    ("mode", "paint", "ground"), [("RGBA", 0, "white"), ("RGBA", 255, "black"), ("LA", 40, "white")]
)
def test_a_shape_in_the_alpha_channel_is_seen(tmp_path, mode, paint, ground):
    def save(pixels, path, _number):
        colours = np.full((6, 6, len(mode) - 1), paint, np.uint8)
        Image.fromarray(np.dstack([colours, pixels]), mode=mode).save(path)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # `mode`, of some versions of Pillow
        written = a_folder(tmp_path / "icons", save)
    dataset, said = told(tmp_path / "icons")
    shape = next(pixels for path, pixels in written.items() if "test" in path.parts).astype(float) / 255
    back = 255.0 if ground == "white" else 0.0
    assert np.abs(pixels_of(dataset)[0, 0] - (shape * paint + (1 - shape) * back)).max() <= 0.51
    assert said == f"48 images with transparent pixels are laid on {ground}."


def test_opaque_colours_with_an_alpha_channel_stay_to_the_bit(tmp_path):
    def save(pixels, path, _number):
        Image.fromarray(np.dstack([pixels, pixels[::-1], pixels, np.full((6, 6), 255, np.uint8)])).save(path)

    written = a_folder(tmp_path / "icons", save)
    dataset, said = told(tmp_path / "icons")
    pixels = next(pixels for path, pixels in written.items() if "test" in path.parts)
    assert (pixels_of(dataset)[0] == np.stack([pixels, pixels[::-1], pixels])).all()
    assert said == ""


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_images_are_turned_as_their_orientation_says(tmp_path, suffix):
    def save(pixels, path, number):
        exif = Image.Exif()
        orientation = number % 8 + 1
        exif[0x0112] = orientation
        tall = np.vstack([pixels, pixels[:2]])
        Image.fromarray(np.ascontiguousarray(TURNS[orientation](tall))).save(path.with_suffix(suffix), exif=exif)

    written = a_folder(tmp_path / "photos", save)
    dataset, _ = told(tmp_path / "photos")
    first = [np.vstack([pixels, pixels[:2]]) for path, pixels in written.items() if path.parts[-3:-1] == ("test", "a")]
    assert dataset.shape == (1, 8, 6)
    assert (pixels_of(dataset)[:12, 0] == np.stack(first)).all()


def test_damaged_metadata_is_no_damage_to_an_image(tmp_path):
    a_folder(
        tmp_path / "p", lambda pixels, path, _: Image.fromarray(pixels).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff")
    )
    assert told(tmp_path / "p")[1] == ""


def test_sixteen_bits_a_colour_are_said_to_lose_their_lower_eight(tmp_path):
    def save(pixels, path, _number):
        def chunk(kind, content):
            return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

        rows = b"".join(b"\0" + np.repeat(row, 3).astype(">u2").tobytes() for row in pixels)  # 0 to 255 of 65535
        header = chunk(b"IHDR", struct.pack(">2I5B", 6, 6, 16, 2, 0, 0, 0))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))

    a_folder(tmp_path / "p", save)
    assert told(tmp_path / "p")[1].startswith("48 images with 16 bits a colour: only the upper 8 are read.")


# ---- folders as people lay them


@pytest.mark.parametrize(
    ("splits", "sizes"),
    [
        (("Train", "Test"), (22, 2, 24)),
        (("training", "validation"), (22, 2, 24)),
        (("train", "valid", "testing"), (24, 24, 24)),
    ],
)
def test_splits_go_by_several_names(tmp_path, splits, sizes):
    a_folder(tmp_path / "p", splits=splits)
    dataset, said = told(tmp_path / "p")
    assert (dataset.train_size, dataset.val_size, dataset.test_size) == sizes
    assert ("the latter are the test split" in said) == (len(splits) == 2 and "Test" not in splits)


def test_what_is_skipped_is_said_with_its_names_escaped(tmp_path):
    a_folder(tmp_path / "p")
    (tmp_path / "p/train/a/Thumbs\n.db").write_bytes(b"x")
    (tmp_path / "p/train/a/._00.png").write_bytes(b"x")
    (tmp_path / "p/train/__MACOSX").mkdir()
    (tmp_path / "p/test/b/more").mkdir()
    (tmp_path / "p/extra").mkdir()
    _, said = told(tmp_path / "p")
    assert "5 entries of its folders are skipped" in said
    assert "._00.png, Thumbs\\n.db, __MACOSX, extra, more" in said


def test_a_name_that_is_not_utf8_is_kept_escaped(tmp_path):
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    a_folder(folder)
    for split in ("train", "test"):
        (folder / split / "a").rename(folder / split / os.fsdecode(b"\xe9"))
    dataset, said = told(folder)
    assert (dataset.name, dataset.classes, said) == ("caf\\udce9", 2, "")


def test_names_in_an_error_are_escaped(tmp_path):
    a_folder(tmp_path / "p")
    (tmp_path / "p/test/\x1b[31mc\nerror: no").mkdir()
    result = CliRunner().invoke(app, ["compare", "-d", str(tmp_path / "p"), "--dry-run"])
    (line,) = result.stderr.splitlines()
    assert "\\x1b[31mc\\nerror: no has no images" in line


def test_several_frames_are_said(tmp_path):
    def save(pixels, path, _number):
        more = [Image.fromarray(255 - pixels)]
        Image.fromarray(pixels).save(path.with_suffix(".gif"), save_all=True, append_images=more)

    a_folder(tmp_path / "p", save)
    assert told(tmp_path / "p")[1] == "48 images with several frames: the first of each is read."


# ---- arrays as people save them


@pytest.mark.parametrize(
    "change",
    [
        lambda labels: np.eye(3, dtype=np.float32)[labels],
        lambda labels: labels.astype(float)[:, None],
        lambda labels: np.array(["ant", "bee", "cat"])[labels],
        lambda labels: np.array([b"ant", b"bee", "\N{BEAR FACE}".encode()])[labels],
    ],
)
def test_labels_are_read_however_they_are_saved(tmp_path, change):
    (_, train), (_, test) = digits(60), digits(12)
    dataset, said = told(an_npz(tmp_path / "a.npz", y_train=change(train), y_test=change(test)))
    assert (ds.open_split(dataset, "test")[1] == test).all()
    assert (dataset.classes, said) == (3, "")


@pytest.mark.parametrize(
    "names", ["X_train Y_train X_test Y_test", "train_images train_labels test_images test_labels"]
)
def test_arrays_go_by_several_names(tmp_path, names):
    (x_train, y_train), (x_test, y_test) = digits(60), digits(12)
    np.savez(tmp_path / "a.npz", **dict(zip(names.split(), (x_train, y_train, x_test, y_test), strict=True)), extra=1)
    dataset, said = told(tmp_path / "a.npz")
    assert (pixels_of(dataset)[:, 0] == x_test).all()
    assert said == "1 array of the file is not read: extra."


def test_a_validation_split_of_its_own_is_used(tmp_path):
    x_val, y_val = digits(9)
    dataset, said = told(an_npz(tmp_path / "a.npz", x_val=x_val, y_val=y_val))
    assert (dataset.train_size, dataset.val_size) == (60, 9)
    assert (ds.open_split(dataset, "val")[0][:, 0] == x_val).all()
    assert said == ""
    _, said = told(an_npz(tmp_path / "b.npz", x_val=x_val))
    assert said == "1 array of the file is not read: x_val."


FIRST = digits(60)
UNUSUAL = [
    ({"x_test": FIRST[0][:12], "x_train": FIRST[0]}, "all 12 test images are also among the training images"),
    ({"x_train": np.repeat(FIRST[0][:6], 10, 0)}, "all 6 validation images are also trained on"),
    ({"x_test": digits(12)[0] / 255, "x_train": FIRST[0] / 1.0}, r"from 0 to 255 .* and its test images from 0\S* to"),
    ({"x_test": 255 - FIRST[0][:12] // 8, "x_train": FIRST[0] // 8}, "scale both alike"),
    ({"x_train": FIRST[0] // 16}, r"values 0 to 15 only, of the 256 of a byte"),
    ({"x_train": FIRST[0] * (np.arange(60) > 9)[:, None, None]}, "10 of 60 training images hold one value"),
    (
        {"y_train": FIRST[1] * 10, "y_test": np.zeros(12)},
        "its labels are 3 numbers from 0 to 20: they become classes 0 to 2",
    ),
    ({"y_train": FIRST[1] - 1, "y_test": np.zeros(12)}, "its label -1 is taken for a class"),
    ({"y_test": np.arange(12) % 2}, "no test image is of class 2."),
    ({"y_test": np.zeros(12, int)}, "every test image is of class 0, so that always answering it scores 1 there."),
    (
        {"y_train": np.minimum(np.arange(60), 2)},
        "every validation image is of class 2, so that always answering it scores 1 there.",
    ),
    (
        {"x_train": np.repeat(FIRST[0][:, None, :, :3], 1, 1), "x_test": FIRST[0][:12, None, :, :3]},
        "as 1×6 pixels with 3",
    ),
]


@pytest.mark.parametrize(("values", "sentence"), UNUSUAL)
def test_what_is_unusual_is_said_in_one_sentence(tmp_path, values, sentence):
    dataset = ds.prepare(str(an_npz(tmp_path / "a.npz", **values)))
    (found,) = [notice for notice in dataset.notices if re.search(sentence, notice)]
    assert "\n" not in found
    assert ds.prepare(str(tmp_path / "a.npz")) == dataset  # from the cache, too


def test_usual_data_is_not_remarked_on(tmp_path):
    assert (
        told(an_npz(tmp_path / "a.npz"))[1]
        == told(an_npz(tmp_path / "b.npz", x_train=FIRST[0] > 200, x_test=digits(12)[0] > 200))[1]
        == ""
    )
    assert ds.prepare("digits").notices == ()


@pytest.mark.parametrize("command", ["compare", "run"])
def test_every_command_says_it_on_stderr(tmp_path, command):
    path = an_npz(tmp_path / "a.npz", y_test=np.zeros(12, int))
    more = {"compare": ["--dry-run"], "run": ["-s", "orthogonal", "--dry-run"]}
    result = CliRunner().invoke(app, [command, *more[command], "--batch-size", "8", "-d", str(path), "-m", "linear"])
    assert "note: a: every test image is of class 0, so that always answering it scores 1 there." in " ".join(
        result.stderr.split()
    )


def test_an_inspection_knows_it(tmp_path):
    path = an_npz(tmp_path / "a.npz", y_test=np.zeros(12, int))
    plan = plan_inspection("linear", ["zeros"], 1, dataset=str(path))
    assert run_inspection("i", plan).notices == (
        "a: every test image is of class 0, so that always answering it scores 1 there.",
    )


# ---- memory


def test_the_memory_of_a_container_counts(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("100000\n")
    (tmp_path / "unlimited").write_text("max\n")
    monkeypatch.setattr(arrays, "CONTAINER_LIMITS", (tmp_path / "memory.max", tmp_path / "unlimited", Path("/nowhere")))
    assert arrays.memory() == 100000
    # 81 kB as stored; the copy in float32 takes 324 kB more
    np.savez_compressed(tmp_path / "a.npz", x_train=np.zeros((900, 90), np.int8), y_train=0, x_test=0, y_test=0)
    with pytest.raises(DataError, match=r"a\.npz would take 0\.0 GiB, and 0\.0 GiB of memory may be used here"):
        ds.prepare(str(tmp_path / "a.npz"))
