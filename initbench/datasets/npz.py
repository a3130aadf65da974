"""The user's own .npz file: arrays under Keras's names or others in use, read without ever unpickling."""

import io
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from initbench.core.text import printable
from initbench.core.words import counted
from initbench.datasets.arrays import Array, Arrays, refuse_giant
from initbench.datasets.findings import narrow_bytes
from initbench.datasets.labels import parse
from initbench.datasets.splitnames import SPLIT_NAMES, VAL_IS_TEST
from initbench.errors import DataError

KEYS = ("x_train", "y_train", "x_test", "y_test")
# What people call images and labels besides x and y: MedMNIST's file, for example, has train_images and train_labels.
KINDS = {"x": "x", "image": "x", "images": "x", "data": "x", "y": "y", "label": "y", "labels": "y", "targets": "y"}
CHANNELS = (1, 3, 4)
HEADER_BYTES = 1 << 16  # per array; headers of NumPy have about a hundred
# Those that numpy.savez writes. Others compress far more tightly, as in a zip bomb.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
NAMES_SHOWN = 10


@dataclass(frozen=True)
class _Member:
    """An array in the file: the name it has there, where it lies, and what its header says."""

    name: str
    info: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: Any


def read_npz(path: Path) -> Arrays:
    """Read x_train, y_train, x_test, y_test; object arrays are an error, so nothing is unpickled.

    x_val and y_val are the validation split where they exist. Capitals, and names such as train_images, are understood.
    Images of (n, features) become (n, 1, 1, features); (n, H, W) become (n, 1, H, W); with four axes the channels are
    the last axis where it is 1, 3 or 4 (as Keras has it, also where the second axis could be meant), else the second
    axis where that is 1, 3 or 4. Bytes and booleans stay bytes; other numbers become float32.

    Raises:
        DataError: damaged, keys missing, or arrays of another kind; the message names the file and the key.
    """
    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged headers make NumPy and Python warn before they fail
            members, notices = _find(archive, path)
            refuse_giant(sum(map(_memory, members.values())), f"The content of {path}")
            raw = {key: _read(archive, member, f"{member.name} in {path}") for key, member in members.items()}
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - damaged bytes make zipfile, zlib, ast and NumPy raise a dozen kinds
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(
            f"The file {path} is not a readable .npz ({reason.rstrip('.')}): save it again with numpy.savez."
        ) from None
    notices += _layouts(members)
    if raw["x_train"].dtype == np.uint8:
        notices += narrow_bytes(raw["x_train"])
    parsed: dict[str, Array] = {}
    for key in list(raw):
        read = _images if key.startswith("x") else parse
        parsed[key] = read(raw.pop(key), f"{members[key].name} in {path}")  # one at a time, to free what it came from
    return Arrays(
        train_images=parsed["x_train"],
        train_labels=parsed["y_train"],
        test_images=parsed["x_test"],
        test_labels=parsed["y_test"],
        val_images=parsed.get("x_val"),
        val_labels=parsed.get("y_val"),
        notices=tuple(notices),
    )


def _find(archive: zipfile.ZipFile, path: Path) -> tuple[dict[str, _Member], list[str]]:
    """Return the arrays by key, of which x_val and y_val may be absent, and sentences on what else is there."""
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    roles: dict[str, str] = {}
    for key in (*KEYS, "x_val", "y_val"):
        candidates = [name for name in names if name == key] or [name for name in names if _role(name) == key]
        if len(candidates) > 1:
            raise DataError(f"The file {path} has {' and '.join(map(printable, candidates))}: keep one as {key}.")
        if candidates:
            roles[key] = candidates[0]
    notices = []
    if {"x_val", "y_val"} <= set(roles) and not {"x_test", "y_test"} & set(roles):
        roles["x_test"], roles["y_test"] = roles.pop("x_val"), roles.pop("y_val")
        notices.append(VAL_IS_TEST)
    if len({"x_val", "y_val"} & set(roles)) == 1:
        roles = {key: name for key, name in roles.items() if not key.endswith("_val")}
    missing = [key for key in KEYS if key not in roles]
    if missing:
        shown = _shown(sorted(names)) or "none"
        raise DataError(f"The file {path} has no array {missing[0]} (found: {shown}): it needs {', '.join(KEYS)}.")
    unused = sorted(set(names) - set(roles.values()))
    if unused:
        notices.append(
            f"{counted(len(unused), 'array')} of the file {'is' if len(unused) == 1 else 'are'} not read: "
            f"{_shown(unused)}."
        )
    return {key: _member(archive, name, path) for key, name in roles.items()}, notices


def _role(name: str) -> str | None:
    """Return the key that a name stands for: x_train for X_train, train_images, xtrain."""
    parts = re.split(r"[_\-. ]", name.lower())
    if len(parts) == 1:
        parts = [parts[0][:1], parts[0][1:]]
    if len(parts) != 2:
        return None
    for kind, split in (parts, parts[::-1]):
        if kind in KINDS and split in SPLIT_NAMES:
            return f"{KINDS[kind]}_{SPLIT_NAMES[split]}"
    return None


def _shown(names: Sequence[str]) -> str:
    more = ["…"] if len(names) > NAMES_SHOWN else []
    return ", ".join([*map(printable, names[:NAMES_SHOWN]), *more])


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> _Member:
    """Read the header of an array; the array is refused here if it cannot be one, before any memory is taken."""
    info, where = archive.getinfo(f"{name}.npy"), f"{name} in {path}"
    if info.compress_type not in METHODS:
        raise ValueError(f"{where} is packed in a way that NumPy never packs")
    with archive.open(info) as file:
        shape, dtype = _check_header(io.BytesIO(file.read(HEADER_BYTES)), info.file_size, where)
    return _Member(name, info, shape, dtype)


def _memory(member: _Member) -> int:
    """Return the bytes that reading an array takes, with the float32 copy that most types need."""
    if member.dtype.kind in "US":
        return 4 * 4 * member.info.file_size  # text is decoded to 4 bytes a character, and sorted
    copied = 0 if member.dtype in (np.bool_, np.uint8, np.float32) else 4 * int(np.prod(member.shape, dtype=object))
    return member.info.file_size + copied


def _read(archive: zipfile.ZipFile, member: _Member, where: str) -> Array:
    with archive.open(member.info) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):  # reading to the end is what makes zipfile compare its checksum
            raise ValueError(f"bytes are left after {where}")
    return np.asarray(array)


def _check_header(file: IO[bytes], size: int, where: str) -> tuple[tuple[int, ...], Any]:
    """Return shape and type; raise on pickles, and on headers that do not match the file size."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise DataError(
            f"The array {where} contains Python objects, which are never unpickled: save numbers or text (astype(str))."
        )
    if dtype.itemsize * int(np.prod(shape, dtype=object)) + file.tell() != size or min(shape, default=0) < 0:
        raise ValueError(f"{where} does not have the length that its header says")
    return shape, dtype


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


def _layouts(members: Mapping[str, _Member]) -> Iterator[str]:
    """Yield a sentence where the training images could have their channels on either axis."""
    name, shape = members["x_train"].name, members["x_train"].shape
    if len(shape) == 4 and shape[3] in CHANNELS and shape[1] in CHANNELS:
        _, height, width, channels = shape
        yield (
            f"{name} of shape {shape} is read as {height}×{width} pixels with {counted(channels, 'channel')}: if "
            f"{counted(height, 'channel')} of {width}×{channels} pixels was meant, save it as (n, H, W, C)."
        )
