"""The store: one checksummed JSON file per trial, `<out>/trials/<id[:2]>/<id>.json`.

A valid file *is* a finished trial: there is no index, no lock and no "running" state, so rerunning continues a run, and
several processes may share a folder (two writers of one id write the same payload; either rename wins).
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from initbench.core.gc_pause import collector_paused
from initbench.core.paths import leads_out, stay_inside
from initbench.errors import ConfigurationError
from initbench.records.record import Record

FORMAT = 1
NO_FOLDER_SYNC = (errno.EINVAL, errno.EBADF, errno.ENOTSUP, errno.ENOSYS)  # of SMB, FUSE and others
ABANDONED = 3600.0  # seconds after which a temporary file has no writer any more
# Fails if the file exists or is a link.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_WRITTEN = re.compile(
    rb'\{"checksum":"([0-9a-f]{64})","format":%d,"payload":(\{.*)\},"timings":(\{[^{}]*\})\}\n' % FORMAT, re.DOTALL
)


class DamagedFile(Exception):  # noqa: N818 - it names the state of a file; never shown to a user
    """A stored file that is not a valid record; the message gives the reason."""


def path_of(out: Path, trial_id: str) -> Path:
    """Return the path of a trial's record."""
    return out / f"trials/{trial_id[:2]}/{trial_id}.json"


def write(out: Path, record: Record) -> Path:
    """Store one record atomically.

    Raises:
        ConfigurationError: the folder cannot be written; nothing half-written stays behind.
    """
    path = path_of(out, record.trial.id)
    stay_inside(out, path)
    write_atomically(path, encode(record))
    return path


def read(out: Path, trial_id: str) -> Record | None:
    """Return the record of a trial, or None where there is none.

    Raises:
        DamagedFile: the file is not the record of this trial.
    """
    path = path_of(out, trial_id)
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedFile(error.strerror or str(error)) from None
    record = decode(text)
    if record.trial.id != trial_id:
        raise DamagedFile(f"it holds the trial {record.trial.id}")
    return record


def read_many(out: Path, trial_ids: Iterable[str]) -> tuple[dict[str, Record], dict[str, str]]:
    """Return the records that are stored, by id, and for each damaged file the reason, by id."""
    damaged: dict[str, str] = {}
    with collector_paused():  # records hold no cycles, and the collector would walk those read so far again and again
        return dict(read_each(out, trial_ids, damaged)), damaged


def read_each(out: Path, trial_ids: Iterable[str], damaged: dict[str, str]) -> Iterator[tuple[str, Record]]:
    """Yield each stored record with its id, one in memory at a time; the reasons of damaged files go to `damaged`."""
    for trial_id in trial_ids:
        try:
            record = read(out, trial_id)
        except DamagedFile as error:
            damaged[trial_id] = str(error)
        else:
            if record is not None:
                yield trial_id, record


def set_aside(out: Path, trial_id: str) -> Path | None:
    """Rename a damaged file to `<id>.json.corrupt-<n>` and return its new path, None if another run was first."""
    path = path_of(out, trial_id)
    stay_inside(out, path)
    number = 1
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    with writing(path):
        try:
            path.rename(aside)
        except FileNotFoundError:
            return None
    return aside


def sweep(root: Path, *folders: Path) -> None:
    """Remove temporary files of killed writers: those older than an hour, as a writer needs milliseconds.

    Folders that a link leads out of `root` are skipped.
    """
    for folder in folders:
        with contextlib.suppress(OSError):  # absent or unreadable: what stays does no harm
            if not leads_out(root, folder / "any"):
                for path in folder.glob(".*.part"):
                    _remove_abandoned(path)


def _remove_abandoned(path: Path) -> None:
    with contextlib.suppress(OSError):  # gone, or owned by somebody else
        if time.time() - path.stat().st_mtime > ABANDONED:
            path.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError into a ConfigurationError with the path and the remedy.

    Raises:
        ConfigurationError: the block raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"Cannot write {path}: {error.strerror}; choose another folder with --out.") from error


def write_atomically(path: Path, data: bytes | Iterable[bytes]) -> None:
    """Write to a temporary name, fsync, rename, fsync the folder: a reader sees the old file or the new one.

    What is too large for memory is given in pieces, made as they are written; it may be asked for them twice.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    with writing(path):
        try:
            _write_and_rename(path, data)
        except FileNotFoundError:  # removed meanwhile, as by a run whose clock is hours ahead of the file system's
            _write_and_rename(path, data)


def _write_and_rename(path: Path, data: bytes | Iterable[bytes]) -> None:
    # Named before it exists: a Ctrl-C just after it is made must not leave it behind.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(temporary, _NEW, 0o666), "wb") as file:
            for piece in [data] if isinstance(data, bytes) else data:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):  # the first failure is the one to report
            temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where the system can sync a folder: Windows and some file systems cannot."""
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        except OSError as error:
            if error.errno not in NO_FOLDER_SYNC:
                raise
        finally:
            os.close(handle)


def encode(record: Record) -> bytes:
    """Return the content of a record's file."""
    document = record.model_dump(mode="json")
    timings, payload = _canonical(document.pop("timings")), _canonical(document)
    checksum = hashlib.sha256(payload).hexdigest().encode()
    # The keys in order, as `_canonical` would write them around a payload that is not written twice.
    return b'{"checksum":"%b","format":%d,"payload":%b,"timings":%b}\n' % (checksum, FORMAT, payload, timings)


def decode(text: bytes) -> Record:
    """Return the record that a file holds.

    Raises:
        DamagedFile: the content is not a valid record.
    """
    try:
        return Record.model_validate_json(_as_written(text) or _checked(json.loads(text)))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = "its content is not a record" if isinstance(error, ValidationError) else "it is not a whole JSON file"
        raise DamagedFile(reason) from None


def _as_written(text: bytes) -> bytes | None:
    """Return a record's JSON if its text is as it was written, so that the checksum needs no parsing."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        return None
    checksum, payload, timings = found.groups()
    if hashlib.sha256(payload + b"}").hexdigest().encode() != checksum:
        return None
    return payload + b',"timings":' + timings + b"}"


def _checked(document: Any) -> bytes:  # noqa: ANN401 - whatever JSON held
    """Return the JSON of a record that another program may have reformatted."""
    if document["format"] != FORMAT:
        raise DamagedFile(f"its format is {document['format']}, this version reads {FORMAT}")
    if document["checksum"] != _checksum(document["payload"]):
        raise DamagedFile("its checksum does not match its content")
    return _canonical({**document["payload"], "timings": document["timings"]})


def _checksum(payload: Any) -> str:  # noqa: ANN401 - whatever JSON held
    return hashlib.sha256(_canonical(payload)).hexdigest()


def _canonical(document: Any) -> bytes:  # noqa: ANN401 - whatever JSON held
    return json.dumps(document, allow_nan=False, sort_keys=True, separators=(",", ":")).encode()
