"""The user's own data: a Keras-style .npz file, or a folder of images."""

import hashlib
import io
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from initbench.datasets.arrays import Array, Arrays, refuse_giant
from initbench.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

KEYS = ("x_train", "y_train", "x_test", "y_test")
CHANNELS = (1, 3, 4)
HEADER_BYTES = 1 << 16  # per array; headers of NumPy have about a hundred
# Those that numpy.savez writes. Others compress far more tightly, as in a zip bomb.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
NAMES_SHOWN = 10

# Only formats that Pillow decodes itself: EPS, for example, starts another program.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pbm", ".pgm", ".ppm", ".pnm"}


@dataclass(frozen=True)
class OwnData:
    """The user's file or folder: a short name, a hash of its content, and how to parse it."""

    name: str
    stamp: str
    read: Callable[[], Arrays]


def find(path: Path, alternatives: str) -> OwnData:
    """Hash an .npz file or an image folder without parsing it.

    Raises:
        DataError: it does not exist or is neither; the message suggests `alternatives`.
    """
    try:
        if path.is_dir():
            images = list_images(path)
            return OwnData(path.resolve().name, _hash_images(path, images), lambda: read_images(images))
        if path.is_file() and path.suffix.lower() == ".npz":
            return OwnData(path.stem, _hash(path), lambda: read_npz(path))
    except OSError as error:
        raise DataError(f"Cannot read {path} ({error.strerror}): fix its permissions or give another path.") from None
    fault = "is neither an .npz file nor a folder" if path.exists() else "does not exist"
    raise DataError(
        f"The dataset {path} {fault}: give the path of an .npz file with {', '.join(KEYS)}, of a folder with "
        f"train/<class>/* and test/<class>/*, or one of {alternatives}."
    )


def read_npz(path: Path) -> Arrays:
    """Read x_train, y_train, x_test, y_test; object arrays are an error, so nothing is unpickled.

    Images of (n, features) become (n, 1, 1, features); (n, H, W) become (n, 1, H, W); with four axes the channels are
    the last axis where it is 1, 3 or 4 (as Keras has it, also where the second axis could be meant), else the second
    axis where that is 1, 3 or 4. Bytes and booleans stay bytes; other numbers become float32.

    Raises:
        DataError: damaged, keys missing, or arrays of another kind; the message names the file and the key.
    """
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged headers make NumPy and Python warn before they fail
            members = {key: _find(archive, key, path) for key in KEYS}
            refuse_giant(sum(member.file_size for member in members.values()), f"The content of {path}")
            raw = {key: _read(archive, member, f"{key} in {path}") for key, member in members.items()}
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - damaged bytes make zipfile, zlib, ast and NumPy raise a dozen kinds
        raise DataError(
            f"The file {path} is not a readable .npz ({_words(error)}): save it again with numpy.savez."
        ) from None
    return Arrays(
        _images(raw["x_train"], f"x_train in {path}"),
        _labels(raw["y_train"], f"y_train in {path}"),
        _images(raw["x_test"], f"x_test in {path}"),
        _labels(raw["y_test"], f"y_test in {path}"),
    )


def _find(archive: zipfile.ZipFile, key: str, path: Path) -> zipfile.ZipInfo:
    names = archive.namelist()
    if f"{key}.npy" not in names:
        found = sorted(name.removesuffix(".npy") for name in names)
        more = ["…"] if len(found) > NAMES_SHOWN else []
        shown = ", ".join(found[:NAMES_SHOWN] + more) or "none"
        raise DataError(f"The file {path} has no array {key} (found: {shown}): it needs {', '.join(KEYS)}.")
    return archive.getinfo(f"{key}.npy")


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> Array:
    if member.compress_type not in METHODS:
        raise ValueError(f"{where} is packed in a way that NumPy never packs")
    with archive.open(member) as file:
        _check_header(io.BytesIO(file.read(HEADER_BYTES)), member.file_size, where)
    with archive.open(member) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):  # reading to the end is what makes zipfile compare its checksum
            raise ValueError(f"bytes are left after {where}")
    return np.asarray(array)


def _check_header(file: IO[bytes], size: int, where: str) -> None:
    """Raise on pickles, and on headers that do not match the file size, before any memory is allocated."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise DataError(f"The array {where} contains Python objects, which are never unpickled: save numbers.")
    if dtype.itemsize * int(np.prod(shape, dtype=object)) + file.tell() != size or min(shape, default=0) < 0:
        raise ValueError(f"{where} does not have the length that its header says")


def _images(array: Array, where: str) -> Array:
    if array.dtype.kind not in "buif":
        raise DataError(f"The array {where} is {array.dtype}: save integers or floats.")
    if array.ndim == 2:
        shaped = array[:, None, None, :]
    elif array.ndim == 3:
        shaped = array[:, None]
    elif array.ndim == 4 and array.shape[3] in CHANNELS:
        shaped = array.transpose(0, 3, 1, 2)
    elif array.ndim == 4 and array.shape[1] in CHANNELS:
        shaped = array
    else:
        raise DataError(
            f"The array {where} has the shape {array.shape}: (n, features), (n, H, W), (n, H, W, C) or (n, C, H, W) "
            f"with C = 1, 3 or 4 is needed."
        )
    if array.dtype in (np.bool_, np.uint8):
        return shaped.astype(np.uint8, copy=False)
    with np.errstate(over="ignore"):  # values that overflow float32 become infinite and are an error later
        return shaped.astype(np.float32, copy=False)


def _labels(array: Array, where: str) -> Array:
    labels = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if labels.ndim != 1 or labels.dtype.kind not in "biu":
        raise DataError(
            f"The array {where} is {array.dtype} of shape {array.shape}: integer classes of shape (n,) or (n, 1) "
            f"are needed."
        )
    return labels.astype(np.int64) if labels.dtype == np.bool_ else labels


@dataclass(frozen=True)
class LabelledImage:
    """One image file: its split, its class (the folder's name) and its path."""

    split: str
    label: str
    path: Path


def list_images(folder: Path) -> list[LabelledImage]:
    """List `train/<class>/*` and `test/<class>/*` by name, without hidden files and files that are not images.

    Raises:
        DataError: a split or a class has no images, or `test` has a class that `train` does not have.
    """
    images = [image for split in ("train", "test") for image in _list_split(folder, split)]
    classes = {image.label for image in images if image.split == "train"}
    for image in images:
        if image.label not in classes:
            raise DataError(
                f"The test class '{image.label}' in {folder} has no folder train/{image.label}: add one, or remove it."
            )
    return images


def read_images(images: list[LabelledImage]) -> Arrays:
    """Decode images: one grey channel where every image is grey, else three colours; classes in the order of names.

    Raises:
        DataError: an image is unreadable, of another size than the first, or of a kind that has no fixed range.
    """
    modes, (width, height) = _survey(images)
    grey = all(mode in {"1", "L", "LA", "I"} or mode.startswith("I;16") for mode in modes)
    channels = 1 if grey else 3
    refuse_giant(len(images) * channels * height * width, f"The images in {images[0].path.parents[2]}")
    classes = sorted({image.label for image in images if image.split == "train"})
    arrays: list[Any] = []
    for split in ("train", "test"):
        own = [image for image in images if image.split == split]
        pixels = np.empty((len(own), channels, height, width), np.uint8)
        for row, image in zip(pixels, own, strict=True):
            row[:] = _open(image.path, lambda opened: _pixels(opened, grey=grey))
        arrays += [pixels, np.array([classes.index(image.label) for image in own], np.int64)]
    return Arrays(*arrays)


def _list_split(folder: Path, split: str) -> Iterator[LabelledImage]:
    classes = [path for path in _visible(folder / split) if path.is_dir()]
    if not classes:
        raise DataError(f"The folder {folder} has no {split}/<class>/ with images: make one folder for each class.")
    for path in classes:
        files = [file for file in _visible(path) if file.suffix.lower() in SUFFIXES and file.is_file()]
        if not files:
            raise DataError(
                f"The class folder {path} has no images: add some ({' '.join(sorted(SUFFIXES))}) or remove it."
            )
        yield from (LabelledImage(split, path.name, file) for file in files)


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=lambda path: path.name)


def _survey(images: list[LabelledImage]) -> tuple[set[str], tuple[int, int]]:
    """Return the modes of the images and their common size, from the headers only."""
    modes, first = set(), (0, 0)
    for image in images:
        mode, size = _open(image.path, lambda opened: (opened.mode, opened.size))
        first = size if image is images[0] else first
        if size != first:
            raise DataError(
                f"The image {image.path} is {size[0]}×{size[1]} where {images[0].path} is {first[0]}×{first[1]}: "
                f"make all images the same size."
            )
        if mode == "F":
            raise DataError(f"The image {image.path} contains floats, which have no fixed range: save 8 or 16 bits.")
        modes.add(mode)
    return modes, first


def _pixels(image: "Image", *, grey: bool) -> Array:
    """Return (1 or 3, H, W) bytes."""
    if image.mode.startswith("I"):  # 16 bits: keep the upper 8, where Pillow's own conversion has clipped at 255
        levels = (np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8)
        return np.repeat(levels[None], 1 if grey else 3, axis=0)
    if grey:
        return np.asarray(image.convert("L"))[None]
    return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def _open(path: Path, use: "Callable[[Image], Any]") -> Any:  # noqa: ANN401 - what `use` returns
    from PIL import Image  # noqa: PLC0415 - only image folders need it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                return use(image)
    except Exception as error:  # noqa: BLE001 - Pillow's decoders raise a dozen kinds on damaged bytes
        reason = _words(error).replace(f" {str(path)!r}", "")  # Pillow repeats the path
        raise DataError(f"The image {path} cannot be read ({reason}): replace or remove it.") from None


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_images(folder: Path, images: list[LabelledImage]) -> str:
    lines = [f"{image.path.relative_to(folder).as_posix()}\0{_hash(image.path)}\n" for image in images]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _words(error: Exception) -> str:
    return (str(error).partition("\n")[0] or type(error).__name__).rstrip(".")
